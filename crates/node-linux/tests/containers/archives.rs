//! Images from elsewhere: archives and a registry on loopback, with every compression and
//! whiteouts; a container run from them shows the merged files.

use crate::house::{House, applet};
use flate2::{Compression, write::GzEncoder};
use node_linux::ImageStore;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

const BINARY_MODE: u32 = 0o755;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(BINARY_MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, *content)
            .expect("in memory");
    }
    tar.into_inner().expect("in memory")
}

/// Layers as they are unpacked, the same as they travel, and the configuration.
struct Made {
    travelling: Vec<Vec<u8>>,
    config: Vec<u8>,
}

fn make() -> Made {
    let binary = fs::read(std::env::current_exe().expect("own path")).expect("readable");
    let layers = [
        tar_of(&[("bin/app", &binary)]),
        tar_of(&[
            ("dir/old", b"old\n"),
            ("dir/keep", b"keep\n"),
            ("full/a", b"a\n"),
        ]),
        tar_of(&[
            ("dir/.wh.old", b""),
            ("full/.wh..wh..opq", b""),
            ("full/b", b"b\n"),
        ]),
    ];
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Entrypoint": ["/bin/app", "applet"], "Cmd": null, "StopSignal": "SIGKILL" },
        "rootfs": { "type": "layers", "diff_ids": layers.each_ref().map(|layer| digest(layer)) },
    });
    let [first, second, third] = layers;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&second).expect("in memory");
    let zstd = ruzstd::encoding::compress_to_vec(
        third.as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    Made {
        travelling: vec![first, gzip.finish().expect("in memory"), zstd],
        config: serde_json::to_vec(&config).expect("plain data"),
    }
}

/// Runs a container of the image and looks at the merged files.
fn check_files(house: &House, image: &str) {
    let pod = house.sandbox("u1");
    let cases = [
        ("keep", "/dir/keep", 0),
        ("old", "/dir/old", 1),
        ("b", "/full/b", 0),
        ("a", "/full/a", 1),
    ];
    for (name, path, code) in cases {
        let mut config = applet(name, &["cat", path]);
        config.image = image.into();
        let id = house.start(&pod.id, config);
        assert_eq!(house.wait(&id).0, code, "{path}: {}", house.log(&id));
    }
    house
        .block(env::Containers::remove_sandbox(&house.containers, &pod.id))
        .expect("removed");
}

pub fn docker_archive() {
    let house = House::new("saved");
    let made = make();
    let names = ["a/layer.tar", "b/layer.tar", "c/layer.tar"];
    let manifest = serde_json::json!([
        { "Config": "config.json", "RepoTags": ["saved:1"], "Layers": names }
    ]);
    let manifest = serde_json::to_vec(&manifest).expect("plain data");
    let mut files: Vec<(&str, &[u8])> =
        vec![("config.json", &made.config), ("manifest.json", &manifest)];
    files.extend(
        names
            .iter()
            .zip(&made.travelling)
            .map(|(name, layer)| (*name, layer.as_slice())),
    );
    let path = house.state.join("saved.tar");
    fs::write(&path, tar_of(&files)).expect("written");
    let images = ImageStore::open(&house.state)
        .expect("store")
        .load(&path)
        .expect("loaded");
    assert_eq!(images[0].tags, ["docker.io/library/saved:1"]);
    assert_eq!(images[0].id, digest(&made.config));
    check_files(&house, "saved:1");
    let source = env::VolumeSource::Image {
        reference: "saved:1".into(),
    };
    let volume = env::Containers::prepare_volume(&house.containers, "u9", "v", &source, None);
    let volume = house.block(volume).expect("mounted");
    let shown = || fs::read_dir(&volume).expect("readable").count();
    let whole = shown();
    assert!(whole > 0);
    let remove = env::Containers::remove_image(&house.containers, "saved:1");
    house.block(remove).expect("removed");
    assert_eq!(shown(), whole, "a volume keeps what it shows");
    let release = env::Containers::release_volumes(&house.containers, "u9");
    house.block(release).expect("released");
    let find = env::Containers::image(&house.containers, "saved:1");
    assert_eq!(house.block(find), Ok(None));
    house.close();
}

/// Manifest of the layers as they travel.
fn manifest_of(made: &Made) -> Vec<u8> {
    let kinds = ["tar", "tar+gzip", "tar+zstd"];
    let layer = |(kind, layer): (&str, &Vec<u8>)| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"),
            "digest": digest(layer), "size": layer.len(),
        })
    };
    let layers: Vec<_> = kinds.into_iter().zip(&made.travelling).map(layer).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&made.config), "size": made.config.len(),
        },
        "layers": layers,
    });
    serde_json::to_vec(&manifest).expect("plain data")
}

pub fn oci_layout() {
    let house = House::new("layout");
    let made = make();
    let manifest = manifest_of(&made);
    let directory = house.state.join("layout");
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("created");
    for blob in made.travelling.iter().chain([&made.config, &manifest]) {
        let name = digest(blob);
        fs::write(blobs.join(name.trim_start_matches("sha256:")), blob).expect("written");
    }
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": MANIFEST, "digest": digest(&manifest), "size": manifest.len(),
        "annotations": { "io.containerd.image.name": "example.com/laid/out:2" },
    }]});
    write_json(&directory.join("index.json"), &index);
    let images = ImageStore::open(&house.state)
        .expect("store")
        .load(&directory)
        .expect("loaded");
    assert_eq!(images[0].tags, ["example.com/laid/out:2"]);
    assert_eq!(
        images[0].digests,
        [format!("example.com/laid/out@{}", digest(&manifest))]
    );
    check_files(&house, &images[0].digests[0]);
    house.close();
}

fn write_json(path: &Path, value: &serde_json::Value) {
    fs::write(path, serde_json::to_vec(value).expect("plain data")).expect("written");
}

type Content = BTreeMap<String, (&'static str, Vec<u8>)>;

/// Serves a registry's paths until the process ends; returns its address.
fn serve(content: Content) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &content);
        }
    });
    address
}

fn answer(mut stream: TcpStream, content: &Content) {
    let mut reader = BufReader::new(stream.try_clone().expect("a copy")).take(1 << 16);
    let mut first = String::new();
    reader.read_line(&mut first).expect("a request");
    let mut line = String::new();
    while reader.read_line(&mut line).expect("a header") > 2 {
        line.clear();
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let empty = (
        "application/json",
        b"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}".to_vec(),
    );
    let (status, (kind, body)) = match (path, content.get(path)) {
        (_, Some(found)) => ("200 OK", found.clone()),
        ("/v2/", None) => ("200 OK", ("application/json", b"{}".to_vec())),
        _ => ("404 Not Found", empty),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Docker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
        body.len(),
        digest(&body)
    );
    // The client may have heard enough.
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body);
    }
}

pub fn registry() {
    let house = House::new("registry");
    let made = make();
    let manifest = manifest_of(&made);
    let mut content = Content::new();
    let blob = |bytes: &Vec<u8>| format!("/v2/team/thing/blobs/{}", digest(bytes));
    for bytes in made.travelling.iter().chain([&made.config]) {
        content.insert(blob(bytes), ("application/octet-stream", bytes.clone()));
    }
    for name in ["3".to_owned(), digest(&manifest)] {
        let path = format!("/v2/team/thing/manifests/{name}");
        content.insert(path, (MANIFEST, manifest.clone()));
    }
    let address = serve(content);
    let pull = |name: &str| {
        house.block(env::Containers::pull(
            &house.containers,
            &format!("{address}/{name}"),
            &[],
        ))
    };
    let image = pull("team/thing:3").expect("pulled");
    let tag = format!("{address}/team/thing:3");
    let by_name = format!("{address}/team/thing@{}", digest(&manifest));
    assert!(
        image.tags.contains(&tag) && image.digests.contains(&by_name),
        "{image:?}"
    );
    check_files(&house, &tag);
    let by_digest = pull(&format!("team/thing@{}", digest(&manifest))).expect("pulled");
    assert_eq!(by_digest.id, image.id);
    let error = pull("team/thing:4").expect_err("no such tag");
    let name = format!("{address}/team/thing:4");
    let expected = format!(
        "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": \
         {name}: not found"
    );
    assert_eq!((error.reason, error.message), ("ErrImagePull", expected));
    house.close();
}
