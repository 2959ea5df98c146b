//! Ten years of a control plane in virtual time: who shows and believes its certificates follows.

use super::*;
use crate::server::configured;
use base64::{Engine, prelude::BASE64_STANDARD};
use env::Disk;
use machinery::{Value, json};
use platform::{CertificateSigner, Platform, assemble};
use registry::{Key, Verb};
use sim_env::{DiskImage, DiskSpeed, Sim, SimCallout, SimDisk};
use std::fs;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between two looks of these tests.
const STEP: Duration = Duration::from_secs(60 * DAY.as_secs());
/// Days of a cluster's life when its authority has been succeeded, and when the first has ended.
const SUCCEEDED: u32 = 3000;
const ENDED: u32 = 3720;

/// What a holder of this key asks to have signed.
const REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHXMH4CAQAwHDEMMAoGA1UECgwDZGV2MQwwCgYDVQQDDANhbm4wWTATBgcqhkjO
PQIBBggqhkjOPQMBBwNCAARSfQHRqM4UOB7mLI+nQGksGdKo0i1xJ1UeSmPT8wfy
ywc2dz/RXwHSwBT5R5Q5iAUjsIRo9ne23rur/OOI40snoAAwCgYIKoZIzj0EAwID
SQAwRgIhANpNhYiWzMsovsmvtTvo2A6r6EgAu3kHY9mSVXZVAiCIAiEA9pabKhQ2
/pC6B0iloQYqfXqfuLnBx2E5oG7Q7qXrj7U=
-----END CERTIFICATE REQUEST-----
";

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing is lost if it stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Years {
    sim: Sim,
    platform: Platform,
    keeper: Keeper,
    _folder: Folder,
}

impl Years {
    fn begin(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("xebec-{name}-{}", std::process::id()));
        let folder = Folder(base.clone());
        let home = Home::below(&base, "years").unwrap();
        let sim = Sim::new(1, Time::from_unix_seconds(1_900_000_000));
        let world = sim.world();
        let pki = Pki::open(&home, world.entropy.as_ref(), world.now()).unwrap();
        let issuer = Arc::new(Issuer::new(&pki));
        let disk = SimDisk::new(sim.fork("disk"), DiskSpeed::default(), DiskImage::default());
        let callout = SimCallout::new(sim.fork("callout"));
        let config = configured(&home, &pki, issuer.clone(), callout);
        let disk: Arc<dyn Disk> = disk;
        let platform = sim.block_on(assemble(&world, disk, config)).unwrap();
        let keeper = Keeper {
            kubeconfig: base.join("kubeconfig"),
            url: "https://127.0.0.1:6443".into(),
            tls: LiveTls::new(&pki.trust(), &pki.server).unwrap(),
            roots: platform.roots.clone(),
            home,
            pki,
            issuer,
        };
        Self {
            sim,
            platform,
            keeper,
            _folder: folder,
        }
    }

    fn pass(&mut self, days: u32) {
        let until = self.sim.now() + DAY * days;
        while self.sim.now() < until {
            self.sim.run_for(STEP);
            let now = self.sim.now();
            self.sim.block_on(self.keeper.look(now)).unwrap();
        }
        self.sim.run_for(DAY);
    }

    fn create(&self, resource: &str, object: Value) {
        let user = Arc::new(auth::User::component("system:apiserver"));
        let door = &self.platform.door;
        let call = door.component_call(&user, Verb::Create, resource, object.namespace(), "");
        let call = call.unwrap().with_object(object);
        self.sim.block_on(door.call(call)).unwrap();
    }

    fn text(&self, resource: &str, (namespace, name): (&str, &str), key: &str) -> String {
        let snapshot = self.platform.door.snapshot();
        let object = snapshot.get(resource, &Key::new(namespace, name)).unwrap();
        object.at("data").get(key).str().to_owned()
    }

    /// Whom everybody is told to believe; all must be told the same.
    fn told(&self) -> String {
        let map = |namespace, name, key| self.text(kinds::CONFIG_MAPS, (namespace, name), key);
        let told = map(
            "kube-system",
            "extension-apiserver-authentication",
            "client-ca-file",
        );
        for namespace in ["default", "kube-system"] {
            assert_eq!(map(namespace, "kube-root-ca.crt", "ca.crt"), told);
        }
        let secret = self.text(kinds::SECRETS, ("default", "t"), "ca.crt");
        assert_eq!(secret, BASE64_STANDARD.encode(&told));
        told
    }
}

fn certificates(text: &str) -> usize {
    text.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn everybody_follows_a_new_authority() {
    let mut years = Years::begin("follow");
    let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "namespace": "default",
            "annotations": {"kubernetes.io/service-account.name": "default"}}});
    years.sim.run_for(DAY);
    years.create(kinds::SECRETS, token);
    years.sim.run_for(DAY);
    let first = years.told();
    assert_eq!(certificates(&first), 1);
    years.pass(SUCCEEDED);
    let both = years.told();
    assert_eq!(certificates(&both), 2, "the first one is believed on");
    assert!(both.ends_with(&first));
    let written = fs::read_to_string(&years.keeper.kubeconfig).unwrap();
    assert!(written.contains(&BASE64_STANDARD.encode(&both)));
    assert_eq!(
        certificates(&years.keeper.pki.server.certificate),
        2,
        "and what leads from there"
    );
    years.pass(ENDED - SUCCEEDED);
    let second = years.told();
    let now = years.sim.now();
    let signed = years
        .keeper
        .issuer
        .sign(REQUEST, &["client auth".to_owned()], None, now);
    assert!(apiserver::is_issued_by(&signed.unwrap(), &second));
    assert_eq!(second, both.strip_suffix(&first[..]).unwrap());
    assert_eq!(certificates(&years.keeper.pki.server.certificate), 1);
}
