//! The resources controllers speak of, as the view names them.
//!
//! Knows nothing of what they contain.

pub const CERTIFICATE_REQUESTS: &str = "certificatesigningrequests.certificates.k8s.io";
pub const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
pub const CONFIG_MAPS: &str = "configmaps";
pub const CONTROLLER_REVISIONS: &str = "controllerrevisions.apps";
pub const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";
pub const CRON_JOBS: &str = "cronjobs.batch";
pub const DAEMON_SETS: &str = "daemonsets.apps";
pub const DEPLOYMENTS: &str = "deployments.apps";
pub const ENDPOINTS: &str = "endpoints";
pub const ENDPOINT_SLICES: &str = "endpointslices.discovery.k8s.io";
pub const FLOW_SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
pub const JOBS: &str = "jobs.batch";
pub const LEASES: &str = "leases.coordination.k8s.io";
pub const NAMESPACES: &str = "namespaces";
pub const NODES: &str = "nodes";
pub const PDBS: &str = "poddisruptionbudgets.policy";
pub const PODS: &str = "pods";
pub const PRIORITY_LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";
pub const PVCS: &str = "persistentvolumeclaims";
pub const PVS: &str = "persistentvolumes";
pub const REPLICA_SETS: &str = "replicasets.apps";
pub const REPLICATION_CONTROLLERS: &str = "replicationcontrollers";
pub const RESOURCE_QUOTAS: &str = "resourcequotas";
pub const SECRETS: &str = "secrets";
pub const SERVICES: &str = "services";
pub const SERVICE_ACCOUNTS: &str = "serviceaccounts";
pub const STATEFUL_SETS: &str = "statefulsets.apps";
pub const STORAGE_CLASSES: &str = "storageclasses.storage.k8s.io";
