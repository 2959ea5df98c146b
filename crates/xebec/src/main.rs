//! The binary: flags, assemble, drain.
//!
//! One file plays every part: the cluster, its containers' supervisor, the commands that
//! manage it, and, inside its own container image, the demo application.

mod applied;
mod certificates;
mod cli;
mod cluster;
mod cluster_file;

mod demo;
mod detach;
mod home;
mod kubeconfig;
mod machine;
mod nodes;
mod pki;
mod server;
mod streams;

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Why this one: docs/decisions/allocator.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let own = arguments
        .first()
        .map_or("", |path| path.rsplit('/').next().unwrap_or(path));
    if demo_app::APPLETS.contains(&own) {
        return code(demo_app::main(own, &arguments[1..]));
    }
    match arguments.get(1).map(String::as_str) {
        Some("node-supervisor") => return code(node_linux::supervisor_main(&arguments[2..])),
        Some("applet") if arguments.len() > 2 => {
            return code(demo_app::main(&arguments[2], &arguments[3..]));
        }
        _ => {}
    }
    match cli::run(cli::Cli::parse()) {
        Ok(status) => code(status),
        Err(why) => {
            eprintln!("xebec: {why}");
            ExitCode::FAILURE
        }
    }
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status.clamp(0, 255)).unwrap_or(1))
}
