//! Objects that become containers: rollouts, logs, terminals, services, jobs, volumes.

use crate::{has, needs_containers};
use e2e_tests::{Cluster, run, tool};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A deployment of a store that answers on port 6379 and has a shell beside it.
fn web(replicas: u32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: xebec/demo
        imagePullPolicy: Never
        command: [sh, -c, 'echo started; exec redis-server']
        ports: [{{containerPort: 6379}}]
        readinessProbe: {{tcpSocket: {{port: 6379}}, periodSeconds: 1}}
        resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{memory: 64Mi}}}}
"
    )
}

pub fn deployment(cluster: &mut Cluster) {
    cluster.apply(&web(2));
    has(
        &cluster.k("rollout status deploy/web --timeout=60s").ok(),
        &["successfully rolled out"],
    );
    has(
        &cluster.k("get deploy web -o wide").ok(),
        &["2/2", "CONTAINERS", "xebec/demo", "app=web"],
    );
    let pods = cluster.k("get pods -l app=web -o wide").ok();
    has(&pods, &["READY", "1/1", "Running", "NODE", "IP"]);
    let described = cluster.k("describe deploy web").ok();
    has(
        &described,
        &[
            "Replicas:",
            "2 desired",
            "ScalingReplicaSet",
            "NewReplicaSetAvailable",
        ],
    );
    has(
        &cluster.k("describe pods -l app=web").ok(),
        &["Scheduled", "Started", "QoS Class", "Burstable"],
    );
    cluster.k("scale deploy/web --replicas=3").ok();
    let jsonpath = "wait deploy/web --for=jsonpath={.status.readyReplicas}=3 --timeout=60s";
    cluster.k(jsonpath).ok();
    has(&cluster.k("get rs -l app=web").ok(), &["DESIRED", "3"]);
    cluster.k("scale deploy/web --replicas=1").ok();
    cluster.until("one pod is left", PATIENCE, |cluster| {
        cluster
            .k("get pods -l app=web -o name")
            .ok()
            .lines()
            .count()
            == 1
    });
}

pub fn logs_and_exec(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    cluster.until("the log shows the start", PATIENCE, |cluster| {
        cluster.k("logs deploy/web").stdout.contains("started")
    });
    has(
        &cluster.k("exec deploy/web -- redis-cli ping").ok(),
        &["PONG"],
    );
    let cat = cluster
        .kubectl_in(
            &["exec", "-i", "deploy/web", "--", "cat"],
            "through the pipe\n",
        )
        .ok();
    assert_eq!(cat, "through the pipe\n");
    let failed = cluster.kubectl(&["exec", "deploy/web", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.code, Some(7), "{failed:?}");
    let talker = "
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: xebec/demo, imagePullPolicy: Never, command: [sh, -c, 'for i in 1 2 3; do echo line $i; sleep 1; done']}
";
    cluster.apply(talker);
    cluster.k("wait pod/talker --for=jsonpath={.status.containerStatuses[0].started}=true --timeout=30s").ok();
    // Following ends by itself when the container does.
    has(
        &cluster.k("logs -f talker --timestamps").ok(),
        &["line 1", "line 2", "line 3", "Z line 3"],
    );
    assert_eq!(cluster.k("logs talker --tail=1").ok(), "line 3\n");
    cluster.k("delete pod talker --wait=true").ok();
}

pub fn the_log_before(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    let again = "
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  volumes: [{name: data, emptyDir: {}}]
  containers:
  - name: main
    image: xebec/demo
    imagePullPolicy: Never
    command: [sh, -c, 'if test -e /data/once; then echo second; exec sleep 600; fi; echo first; echo x > /data/once; exit 3']
    volumeMounts: [{name: data, mountPath: /data}]
";
    cluster.apply(again);
    cluster.until("the second start", PATIENCE, |cluster| {
        cluster.k("logs again").stdout == "second\n"
    });
    assert_eq!(cluster.k("logs -p again").ok(), "first\n");
    assert_eq!(cluster.k("logs again").ok(), "second\n");
    let before = cluster.k("logs -p deploy/web").refused();
    has(&before, &["previous terminated container", "not found"]);
    cluster
        .k("delete pod again --wait=true --grace-period=0")
        .ok();
}

pub fn attach(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    let listener = "
apiVersion: v1
kind: Pod
metadata: {name: listener}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: xebec/demo, imagePullPolicy: Never, command: [cat], stdin: true, stdinOnce: true}
---
apiVersion: v1
kind: Pod
metadata: {name: speaker}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: xebec/demo, imagePullPolicy: Never, command: [sh, -c, 'for i in 1 2 3 4 5; do echo line $i; sleep 1; done; exit 4']}
";
    cluster.apply(listener);
    for pod in ["listener", "speaker"] {
        cluster
            .k(&format!(
                "wait pod/{pod} --for=jsonpath={{.status.phase}}=Running --timeout=30s"
            ))
            .ok();
    }
    // What it hears comes back; with the end of its input it ends, and so does the session.
    let said = cluster.kubectl_in(&["attach", "-i", "listener"], "hello\nthere\n");
    has(&said.ok(), &["hello\nthere\n"]);
    cluster
        .k("wait pod/listener --for=jsonpath={.status.phase}=Succeeded --timeout=30s")
        .ok();
    assert_eq!(cluster.k("logs listener").ok(), "hello\nthere\n");
    // Without input one listens until the container ends.
    has(&cluster.k("attach speaker").stdout, &["line 5"]);
    let over = cluster.k("attach speaker").refused();
    has(&over, &["cannot attach a container in a completed pod"]);
    cluster.k("delete pod listener speaker --wait=true").ok();
}

pub fn terminal_and_copy(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    let pod = cluster
        .k("get pods -l app=web -o jsonpath={.items[0].metadata.name}")
        .ok();
    let local = cluster.folder().join("to-copy");
    std::fs::write(&local, "carried over\n").unwrap();
    cluster
        .kubectl(&["cp", local.to_str().unwrap(), &format!("{pod}:/tmp/copied")])
        .ok();
    assert_eq!(
        cluster.k(&format!("exec {pod} -- cat /tmp/copied")).ok(),
        "carried over\n"
    );
    let back = cluster.folder().join("came-back");
    cluster
        .kubectl(&["cp", &format!("{pod}:/tmp/copied"), back.to_str().unwrap()])
        .ok();
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "carried over\n");
    // A terminal needs one on this side too; `script` gives kubectl one.
    let kubectl = tool("kubectl");
    let inner = format!(
        "{} --kubeconfig {} exec -it {pod} -- sh -c 'stat -t /dev/stdin >/dev/null; echo tty ok'",
        kubectl.display(),
        cluster.kubeconfig().display()
    );
    let mut command = Command::new("script");
    command.args(["-qec", &inner, "/dev/null"]);
    match run(&mut command, "", PATIENCE) {
        Ok(said) => has(&said.ok(), &["tty ok"]),
        Err(_) => println!("  (no `script` on this machine: the terminal was not tried)"),
    }
}

pub fn failed_rollout_is_undone(cluster: &mut Cluster) {
    cluster.k("set image deploy/web web=xebec/absent:1").ok();
    if !cluster.simulated() {
        cluster.until("the missing image is reported", PATIENCE, |cluster| {
            cluster
                .k("get pods -l app=web")
                .stdout
                .contains("ErrImageNeverPull")
        });
        // The old pod stays as long as the new one is not ready.
        has(&cluster.k("get deploy web").ok(), &["1/1"]);
    }
    has(
        &cluster.k("rollout history deploy/web").ok(),
        &["REVISION", "1", "2"],
    );
    has(&cluster.k("rollout undo deploy/web").ok(), &["rolled back"]);
    has(
        &cluster.k("rollout status deploy/web --timeout=60s").ok(),
        &["successfully rolled out"],
    );
    let image =
        cluster.json("deploy web")["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, "xebec/demo");
    cluster.k("rollout restart deploy/web").ok();
    cluster.k("rollout status deploy/web --timeout=60s").ok();
}

pub fn service_and_dns(cluster: &mut Cluster) {
    cluster.k("expose deploy/web --port=6379 --name=cache").ok();
    cluster.until("the service has an endpoint", PATIENCE, |cluster| {
        let slices = cluster.json("endpointslices -l kubernetes.io/service-name=cache");
        slices["items"][0]["endpoints"][0]["conditions"]["ready"] == true
    });
    if needs_containers(cluster) {
        return;
    }
    let address = cluster.json("svc cache")["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .to_owned();
    for host in [address.as_str(), "cache", "cache.default.svc.cluster.local"] {
        let asked = format!("exec deploy/web -- redis-cli -h {host} ping");
        cluster.until(&format!("{host} answers"), PATIENCE, |cluster| {
            cluster.k(&asked).stdout.contains("PONG")
        });
    }
    let unknown = cluster.k("exec deploy/web -- nslookup absent.default.svc.cluster.local");
    assert_ne!(unknown.code, Some(0), "{unknown:?}");
}

pub fn port_forward(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    let mut command = Command::new(tool("kubectl"));
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args([
        "port-forward",
        "deploy/web",
        ":6379",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let port = line
        .split(" -> ")
        .next()
        .and_then(|left| left.rsplit(':').next()?.parse::<u16>().ok());
    let answer = port.map(|port| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        let mut bytes = [0; 7];
        stream.read_exact(&mut bytes).map(|()| bytes)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(&answer.expect(&line).unwrap(), b"+PONG\r\n");
}

pub fn job_completes(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    let job = "
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  completions: 2
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: sum, image: xebec/demo, imagePullPolicy: Never, command: [sh, -c, 'echo done']}
";
    cluster.apply(job);
    cluster
        .k("wait --for=condition=complete job/sum --timeout=60s")
        .ok();
    has(&cluster.k("get job sum").ok(), &["Complete", "2/2"]);
    has(&cluster.k("logs job/sum").ok(), &["done"]);
    cluster.k("delete job sum").ok();
    cluster.until("the job's pods are collected", PATIENCE, |cluster| {
        cluster
            .k("get pods -l job-name=sum -o name")
            .ok()
            .is_empty()
    });
}

pub fn stateful_set_keeps_its_volume(cluster: &mut Cluster) {
    let set = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: disk}
spec:
  serviceName: disk
  selector: {matchLabels: {app: disk}}
  template:
    metadata: {labels: {app: disk}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: xebec/demo
        imagePullPolicy: Never
        command: [sh, -c, 'echo $(hostname) >> /data/starts; exec redis-server']
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
";
    cluster.apply(set);
    cluster.k("wait pod/disk-0 --for=create --timeout=30s").ok();
    cluster
        .k("wait pod/disk-0 --for=condition=ready --timeout=60s")
        .ok();
    has(&cluster.k("get pvc data-disk-0").ok(), &["Bound"]);
    let first = cluster.json("pod disk-0")["metadata"]["uid"].clone();
    cluster.k("delete pod disk-0 --wait=true").ok();
    cluster.until("a new pod of the same name is ready", PATIENCE, |cluster| {
        let pod = cluster.k("get pod disk-0 -o json").stdout;
        let pod: serde_json::Value = serde_json::from_str(&pod).unwrap_or_default();
        pod["metadata"]["uid"] != first && pod["status"]["containerStatuses"][0]["ready"] == true
    });
    if !cluster.simulated() {
        assert_eq!(
            cluster.k("exec disk-0 -- cat /data/starts").ok(),
            "disk-0\ndisk-0\n"
        );
    }
    cluster.k("delete statefulset disk").ok();
    cluster.k("delete pvc data-disk-0").ok();
}
