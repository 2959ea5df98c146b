//! Clusters in processes of their own: started, asked, stopped, removed.

use crate::{cli::UpArgs, cluster::Start, home::Home, kubeconfig, nodes};
use machinery::{Value, json};
use std::{
    error::Error,
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often a process in the making or ending is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// A server that is not ready by then is given up.
const START_MAX: Duration = Duration::from_secs(120);
/// A server that has not ended by then is reported.
const STOP_MAX: Duration = Duration::from_secs(60);

/// `xebec up --detach`: the same command in a process of its own, awaited until ready.
pub fn up(arguments: &UpArgs) -> Result<i32> {
    let start = Start::of(arguments)?;
    start.check_free()?;
    let home = &start.home;
    fs::create_dir_all(home.root())?;
    home.remove_record();
    let log = fs::File::create(home.log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(
        std::env::args()
            .skip(1)
            .filter(|argument| argument != "--detach"),
    );
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let mut child = command.spawn()?;
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(format!("the server ended ({status}): {}", tail(&home.log())).into());
        }
        if tail(&home.log()).contains("is ready") {
            print!("{}", fs::read_to_string(home.log())?);
            return Ok(0);
        }
        if since.elapsed() > START_MAX {
            return Err(format!(
                "the server is not ready after {START_MAX:?}; see {}",
                home.log().display()
            )
            .into());
        }
        thread::sleep(LOOK);
    }
}

/// The last words of a log.
fn tail(path: &Path) -> String {
    const LENGTH: u64 = 2048;
    let Ok(mut file) = fs::File::open(path) else {
        return String::new();
    };
    let length = file.metadata().map_or(0, |facts| facts.len());
    let mut text = Vec::new();
    // A log that cannot be read has no last words.
    let _ = file.seek(SeekFrom::Start(length.saturating_sub(LENGTH)));
    let _ = file.read_to_end(&mut text);
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// `xebec down`.
pub fn down(home: &Home) -> Result<i32> {
    if stop(home)? {
        println!(
            "Cluster {} is stopped; its state stays in {}",
            home.name(),
            home.root().display()
        );
    } else {
        nodes::remove_leftovers(home)?;
        println!("Cluster {} does not run", home.name());
    }
    Ok(0)
}

/// Ends the server's process, if it runs, and whatever it could not end itself.
fn stop(home: &Home) -> Result<bool> {
    let Some(pid) = home.running() else {
        return Ok(false);
    };
    terminate(pid)?;
    let since = Instant::now();
    while home.running().is_some() && Path::new(&format!("/proc/{pid}")).exists() {
        if since.elapsed() > STOP_MAX {
            return Err(format!("process {pid} has not ended after {STOP_MAX:?}").into());
        }
        thread::sleep(LOOK);
    }
    nodes::remove_leftovers(home)?;
    Ok(true)
}

fn terminate(pid: i32) -> Result<()> {
    let status = Command::new("kill").arg(pid.to_string()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("process {pid} cannot be ended by this user").into()),
        Err(why) => Err(format!("kill: {why}").into()),
    }
}

/// `xebec delete`.
pub fn delete(home: &Home) -> Result<i32> {
    let known = home.root().exists();
    let file = home
        .read_record()
        .map(|record| record["kubeconfig"].str().to_owned());
    stop(home)?;
    nodes::remove_leftovers(home)?;
    let file = file
        .filter(|path| !path.is_empty())
        .map(Into::into)
        .unwrap_or_else(|| kubeconfig::path(None));
    kubeconfig::forget(&file, home)?;
    if known {
        fs::remove_dir_all(home.root())?;
        println!("Cluster {} is gone", home.name());
    } else {
        println!("There is no cluster {}", home.name());
    }
    Ok(0)
}

/// `xebec status`: exit code 0 if it runs.
pub fn status(home: &Home, as_json: bool) -> Result<i32> {
    let pid = home.running();
    let record = home.read_record().unwrap_or_default();
    let ready = pid.is_some() && answers(home);
    let shown = json!({
        "name": home.name(), "pid": pid.map_or(Value::Null, Value::from), "server": record["server"].str(),
        "ready": ready, "nodes": record["nodes"].as_i64().unwrap_or(0), "simulated": record["simulated"].as_bool().unwrap_or(false),
        "kubeconfig": record["kubeconfig"].str(),
    });
    if as_json {
        println!(
            "{}",
            String::from_utf8_lossy(&codec::encode_json_value(&shown))
        );
    } else {
        match pid {
            Some(pid) => println!(
                "Cluster {} runs: process {pid}, {}, {} nodes, {}",
                home.name(),
                shown["server"].str(),
                shown["nodes"].as_i64().unwrap_or(0),
                if ready { "ready" } else { "starting" }
            ),
            None if home.root().exists() => println!("Cluster {} is stopped", home.name()),
            None => println!("There is no cluster {}", home.name()),
        }
    }
    Ok(i32::from(pid.is_none()))
}

/// Whether the server answers on its port.
fn answers(home: &Home) -> bool {
    let server = home
        .read_record()
        .map(|record| record["server"].str().to_owned())
        .unwrap_or_default();
    let Ok(address) = server.trim_start_matches("https://").parse() else {
        return false;
    };
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
