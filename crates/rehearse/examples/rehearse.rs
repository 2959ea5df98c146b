//! Holds one rehearsal: `cargo run -p rehearse --example rehearse -- FILE [SEED]`.

use rehearse::{Options, run};
use std::{env, io, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let file = arguments.next().expect("a scenario file is named");
    let seed = arguments
        .next()
        .map(|text| text.parse().expect("a seed is a number"));
    match run(Path::new(&file), Options { seed }) {
        Ok(report) => {
            report
                .print(&mut io::stdout())
                .expect("the terminal is there");
            ExitCode::from(u8::from(!report.passed()))
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}
