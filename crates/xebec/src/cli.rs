//! The command line: stable, scripts rely on it.

use crate::{cluster, demo, detach, home::Home};
use clap::{Args, Parser, Subcommand};
use std::{error::Error, path::PathBuf};

/// A complete EKS-style Kubernetes platform in one binary.
#[derive(Parser)]
#[command(name = "xebec", version = env!("CARGO_PKG_VERSION"))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster and keep it running (or leave it running with --detach)
    Up(UpArgs),
    /// Stop a cluster; its state stays
    Down(Named),
    /// Stop a cluster and remove everything of it
    Delete(Named),
    /// Say how a cluster is
    Status(StatusArgs),
    /// Bring a cluster up, run the example application on it, show it, and take it away again
    Demo(DemoArgs),
    /// Run a scenario in virtual time
    Rehearse(RehearseArgs),
    /// Manage the images of a cluster's nodes
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
}

#[derive(Args)]
struct Named {
    /// Name of the cluster
    #[arg(long, default_value = "xebec")]
    name: String,
}

/// `xebec up`.
#[derive(Args, Clone)]
pub struct UpArgs {
    /// Name of the cluster
    #[arg(long)]
    pub name: Option<String>,
    /// An eksctl ClusterConfig: name, node groups, zones
    #[arg(short = 'f', long = "file")]
    pub file: Option<PathBuf>,
    /// Number of nodes
    #[arg(long)]
    pub nodes: Option<usize>,
    /// Simulated containers: needs no rights
    #[arg(long)]
    pub simulated: bool,
    /// Port of the API server; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Kubeconfig to merge the context into [default: $KUBECONFIG or ~/.kube/config]
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Return once the cluster is ready and leave it running
    #[arg(long)]
    pub detach: bool,
}

#[derive(Args)]
struct StatusArgs {
    #[command(flatten)]
    named: Named,
    /// Output: text or json
    #[arg(short = 'o', long = "output", default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

/// `xebec demo`.
#[derive(Args)]
pub struct DemoArgs {
    /// Keep the cluster until interrupted
    #[arg(long)]
    pub keep: bool,
    /// Simulated containers: needs no rights
    #[arg(long)]
    pub simulated: bool,
    /// Number of nodes
    #[arg(long, default_value_t = 1)]
    pub nodes: usize,
}

#[derive(Args)]
struct RehearseArgs {
    /// The scenario
    file: PathBuf,
    /// Overrides the scenario's seed
    #[arg(long)]
    seed: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Import a docker-save archive, an OCI archive or an OCI layout
    Load {
        #[command(flatten)]
        named: Named,
        /// The archive or directory
        file: PathBuf,
    },
    /// List images
    Ls {
        #[command(flatten)]
        named: Named,
    },
}

/// Runs a command; its exit code.
pub fn run(cli: Cli) -> Result<i32, Box<dyn Error>> {
    match cli.command {
        Command::Up(arguments) if arguments.detach => detach::up(&arguments),
        Command::Up(arguments) => cluster::up(&arguments),
        Command::Down(named) => detach::down(&Home::of(&named.name)?),
        Command::Delete(named) => detach::delete(&Home::of(&named.name)?),
        Command::Status(arguments) => detach::status(
            &Home::of(&arguments.named.name)?,
            arguments.output == "json",
        ),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Rehearse(arguments) => rehearse(&arguments),
        Command::Image { command } => image(command),
    }
}

fn rehearse(arguments: &RehearseArgs) -> Result<i32, Box<dyn Error>> {
    let report = rehearse::run(
        &arguments.file,
        rehearse::Options {
            seed: arguments.seed,
        },
    )?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        std::io::Write::write_all(&mut out, report.to_json().as_bytes())?;
        std::io::Write::write_all(&mut out, b"\n")?;
    } else {
        report.print(&mut out)?;
    }
    Ok(i32::from(!report.passed()))
}

fn image(command: ImageCommand) -> Result<i32, Box<dyn Error>> {
    match command {
        ImageCommand::Load { named, file } => {
            let home = Home::of(&named.name)?;
            for image in node_linux::ImageStore::open(home.node())?.load(&file)? {
                println!("{} {}", image.tags.join(" "), image.id);
            }
        }
        ImageCommand::Ls { named } => {
            let home = Home::of(&named.name)?;
            println!("{:<60} {:<20} SIZE", "IMAGE", "ID");
            for image in node_linux::ImageStore::open(home.node())?.list()? {
                let id = image.id.trim_start_matches("sha256:");
                let name = image
                    .tags
                    .first()
                    .or(image.digests.first())
                    .map_or("<none>", String::as_str);
                println!(
                    "{name:<60} {:<20} {:.1}MB",
                    &id[..id.len().min(12)],
                    image.size as f64 / 1e6
                );
            }
        }
    }
    Ok(0)
}
