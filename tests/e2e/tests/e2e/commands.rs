//! The rest of kubectl's commands, each with what it must say.
//!
//! Every line is a command and words of its answer; containers do not matter here. Upstream
//! counterpart: `test/cmd/*.sh`.

use crate::has;
use e2e_tests::{Cluster, run, tool};
use std::{process::Command, time::Duration};

/// Runs lines of `command => words`.
fn lines(cluster: &Cluster, script: &str) {
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (command, words) = line.split_once("=>").expect("a command and words");
        let words: Vec<&str> = words.split_whitespace().collect();
        has(&cluster.k(command.trim()).ok(), &words);
    }
}

pub fn setting_and_scaling(cluster: &mut Cluster) {
    lines(
        cluster,
        "
        create ns cmd => created
        create deploy app -n cmd --image=one --replicas=0 => created
        set image deploy/app one=two -n cmd => updated
        set env deploy/app A=b -n cmd => updated
        set resources deploy/app --requests=cpu=5m -n cmd => updated
        create sa runner -n cmd => created
        set serviceaccount deploy/app runner -n cmd => updated
        get deploy app -n cmd -o jsonpath={.spec.template.spec} => two runner 5m
        rollout history deploy/app -n cmd => REVISION 4
        rollout pause deploy/app -n cmd => paused
        rollout resume deploy/app -n cmd => resumed
        rollout undo deploy/app -n cmd --to-revision=1 => rolled
        expose deploy app -n cmd --port=80 => exposed
        set selector svc app x=y -n cmd => updated
        autoscale deploy app -n cmd --min=1 --max=3 --cpu=50% => autoscaled
        get hpa -n cmd => app Deployment/app
        label deploy app -n cmd tier=web => labeled
        annotate deploy app -n cmd note=x => annotated
        get deploy -n cmd -l tier=web -o custom-columns=N:.metadata.name => app
        get deploy -n cmd -o go-template={{.kind}} => List
        create rolebinding rb -n cmd --clusterrole=view --serviceaccount=cmd:runner => created
        set subject rolebinding rb -n cmd --user=ann => updated
        auth can-i get pods -n cmd --as=ann => yes
        create token runner -n cmd => .
        patch deploy app -n cmd --type=json -p [{\"op\":\"remove\",\"path\":\"/metadata/labels/tier\"}] => patched
        patch deploy app -n cmd --type=merge -p {\"spec\":{\"minReadySeconds\":1}} => patched
        patch deploy app -n cmd --type=strategic -p {\"spec\":{\"minReadySeconds\":2}} => patched
        delete sa --field-selector=metadata.name=runner -n cmd => deleted
        delete deploy app -n cmd --cascade=orphan => deleted
        delete rs --all -n cmd --cascade=foreground => deleted
        delete ns cmd => deleted
        ",
    );
}

pub fn nodes_and_certificates(cluster: &mut Cluster) {
    let node = cluster
        .k("get nodes -o jsonpath={.items[0].metadata.name}")
        .ok();
    for (command, words) in [
        (format!("taint node {node} k=v:PreferNoSchedule"), "tainted"),
        (format!("taint node {node} k-"), "untainted"),
        (format!("cordon {node}"), "cordoned"),
        (format!("get node {node}"), "SchedulingDisabled"),
        (format!("uncordon {node}"), "uncordoned"),
        ("cluster-info".into(), "control plane"),
        ("api-versions".into(), "certificates.k8s.io/v1"),
    ] {
        has(&cluster.k(&command).ok(), &[words]);
    }
    has(
        &cluster.k("top pods").refused(),
        &["Metrics API not available"],
    );
}

pub fn editing_and_replacing(cluster: &mut Cluster) {
    let map = |value: &str| {
        format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"edited\"}},\"data\":{{\"a\":\"{value}\"}}}}"
        )
    };
    cluster.kubectl_in(&["create", "-f", "-"], &map("1")).ok();
    cluster.kubectl_in(&["replace", "-f", "-"], &map("2")).ok();
    let forced = cluster.kubectl_in(&["replace", "--force", "-f", "-"], &map("3"));
    has(&forced.ok(), &["replaced"]);
    let editor = cluster.folder().join("editor.sed");
    std::fs::write(&editor, "s/a: \"3\"/a: four/").unwrap();
    let mut edit = Command::new(tool("kubectl"));
    edit.args(["edit", "configmap", "edited"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("KUBE_EDITOR", format!("sed -i -f {}", editor.display()));
    has(
        &run(&mut edit, "", Duration::from_secs(30)).unwrap().ok(),
        &["edited"],
    );
    assert_eq!(cluster.json("configmap edited")["data"]["a"], "four");
    let changed = cluster.kubectl_in(&["diff", "-f", "-"], &map("5"));
    assert_eq!(changed.code, Some(1), "{changed:?}");
    has(&changed.stdout, &["-  a: four", "+  a: \"5\""]);
    cluster.k("delete configmap edited").ok();
}

pub fn apply_moves_to_the_server(cluster: &mut Cluster) {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: moved}\ndata: {a: b}\n";
    cluster.apply(map);
    let server = ["apply", "--server-side", "-f", "-"];
    cluster.kubectl_in(&server, map).ok();
    let stored = cluster.json("configmap moved --show-managed-fields");
    let managers = stored["metadata"]["managedFields"].as_array().unwrap();
    // One entry for what was applied, one for the note that client-side apply had left.
    let applied = |one: &serde_json::Value| one["operation"] == "Apply";
    assert!(managers.iter().all(applied), "{managers:?}");
    cluster.kubectl_in(&server, map).ok();
    let again = cluster.json("configmap moved");
    let version = |object: &serde_json::Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&stored), version(&again));
    cluster.k("delete configmap moved").ok();
}
