//! The application as a program of its own, for tests and for use outside the image: called under
//! an applet's name, or with that name as the first argument.

use std::{env, path::Path, process::exit};

fn main() {
    let mut args: Vec<String> = env::args().collect();
    let called = args.first().map(|path| {
        let name = Path::new(path).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    args.drain(..1.min(args.len()));
    let name = match called.filter(|name| demo_app::APPLETS.contains(&name.as_str())) {
        Some(name) => name,
        None if args.is_empty() => {
            eprintln!(
                "usage: demo-app {{{}}} [arguments]",
                demo_app::APPLETS.join("|")
            );
            exit(2)
        }
        None => args.remove(0),
    };
    exit(demo_app::main(&name, &args));
}
