//! Names of the built-in resources in the store and in views.
//!
//! The plural name, with `.group` unless core; kinds served under two names have one.

/// `configmaps`.
pub const CONFIG_MAPS: &str = "configmaps";
/// `endpoints`.
pub const ENDPOINTS: &str = "endpoints";
/// `events`.
pub const EVENTS: &str = "events";
/// `limitranges`.
pub const LIMIT_RANGES: &str = "limitranges";
/// `namespaces`.
pub const NAMESPACES: &str = "namespaces";
/// `nodes`.
pub const NODES: &str = "nodes";
/// `persistentvolumeclaims`.
pub const PERSISTENT_VOLUME_CLAIMS: &str = "persistentvolumeclaims";
/// `persistentvolumes`.
pub const PERSISTENT_VOLUMES: &str = "persistentvolumes";
/// `pods`.
pub const PODS: &str = "pods";
/// `podtemplates`.
pub const POD_TEMPLATES: &str = "podtemplates";
/// `replicationcontrollers`.
pub const REPLICATION_CONTROLLERS: &str = "replicationcontrollers";
/// `resourcequotas`.
pub const RESOURCE_QUOTAS: &str = "resourcequotas";
/// `secrets`.
pub const SECRETS: &str = "secrets";
/// `serviceaccounts`.
pub const SERVICE_ACCOUNTS: &str = "serviceaccounts";
/// `services`.
pub const SERVICES: &str = "services";
/// `apiservices.apiregistration.k8s.io`.
pub const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";
/// `controllerrevisions.apps`.
pub const CONTROLLER_REVISIONS: &str = "controllerrevisions.apps";
/// `daemonsets.apps`.
pub const DAEMON_SETS: &str = "daemonsets.apps";
/// `deployments.apps`.
pub const DEPLOYMENTS: &str = "deployments.apps";
/// `replicasets.apps`.
pub const REPLICA_SETS: &str = "replicasets.apps";
/// `statefulsets.apps`.
pub const STATEFUL_SETS: &str = "statefulsets.apps";
/// `horizontalpodautoscalers.autoscaling`.
pub const HORIZONTAL_POD_AUTOSCALERS: &str = "horizontalpodautoscalers.autoscaling";
/// `cronjobs.batch`.
pub const CRON_JOBS: &str = "cronjobs.batch";
/// `jobs.batch`.
pub const JOBS: &str = "jobs.batch";
/// `certificatesigningrequests.certificates.k8s.io`.
pub const CERTIFICATE_SIGNING_REQUESTS: &str = "certificatesigningrequests.certificates.k8s.io";
/// `ingressclasses.networking.k8s.io`.
pub const INGRESS_CLASSES: &str = "ingressclasses.networking.k8s.io";
/// `ingresses.networking.k8s.io`.
pub const INGRESSES: &str = "ingresses.networking.k8s.io";
/// `ipaddresses.networking.k8s.io`.
pub const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";
/// `networkpolicies.networking.k8s.io`.
pub const NETWORK_POLICIES: &str = "networkpolicies.networking.k8s.io";
/// `servicecidrs.networking.k8s.io`.
pub const SERVICE_CIDRS: &str = "servicecidrs.networking.k8s.io";
/// `poddisruptionbudgets.policy`.
pub const POD_DISRUPTION_BUDGETS: &str = "poddisruptionbudgets.policy";
/// `clusterrolebindings.rbac.authorization.k8s.io`.
pub const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
/// `clusterroles.rbac.authorization.k8s.io`.
pub const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
/// `rolebindings.rbac.authorization.k8s.io`.
pub const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
/// `roles.rbac.authorization.k8s.io`.
pub const ROLES: &str = "roles.rbac.authorization.k8s.io";
/// `csidrivers.storage.k8s.io`.
pub const CSI_DRIVERS: &str = "csidrivers.storage.k8s.io";
/// `csinodes.storage.k8s.io`.
pub const CSI_NODES: &str = "csinodes.storage.k8s.io";
/// `csistoragecapacities.storage.k8s.io`.
pub const CSI_STORAGE_CAPACITIES: &str = "csistoragecapacities.storage.k8s.io";
/// `storageclasses.storage.k8s.io`.
pub const STORAGE_CLASSES: &str = "storageclasses.storage.k8s.io";
/// `volumeattachments.storage.k8s.io`.
pub const VOLUME_ATTACHMENTS: &str = "volumeattachments.storage.k8s.io";
/// `volumeattributesclasses.storage.k8s.io`.
pub const VOLUME_ATTRIBUTES_CLASSES: &str = "volumeattributesclasses.storage.k8s.io";
/// `mutatingadmissionpolicies.admissionregistration.k8s.io`.
pub const MUTATING_ADMISSION_POLICIES: &str =
    "mutatingadmissionpolicies.admissionregistration.k8s.io";
/// `mutatingadmissionpolicybindings.admissionregistration.k8s.io`.
pub const MUTATING_ADMISSION_POLICY_BINDINGS: &str =
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io";
/// `mutatingwebhookconfigurations.admissionregistration.k8s.io`.
pub const MUTATING_WEBHOOK_CONFIGURATIONS: &str =
    "mutatingwebhookconfigurations.admissionregistration.k8s.io";
/// `validatingadmissionpolicies.admissionregistration.k8s.io`.
pub const VALIDATING_ADMISSION_POLICIES: &str =
    "validatingadmissionpolicies.admissionregistration.k8s.io";
/// `validatingadmissionpolicybindings.admissionregistration.k8s.io`.
pub const VALIDATING_ADMISSION_POLICY_BINDINGS: &str =
    "validatingadmissionpolicybindings.admissionregistration.k8s.io";
/// `validatingwebhookconfigurations.admissionregistration.k8s.io`.
pub const VALIDATING_WEBHOOK_CONFIGURATIONS: &str =
    "validatingwebhookconfigurations.admissionregistration.k8s.io";
/// `customresourcedefinitions.apiextensions.k8s.io`.
pub const CUSTOM_RESOURCE_DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// `priorityclasses.scheduling.k8s.io`.
pub const PRIORITY_CLASSES: &str = "priorityclasses.scheduling.k8s.io";
/// `leases.coordination.k8s.io`.
pub const LEASES: &str = "leases.coordination.k8s.io";
/// `runtimeclasses.node.k8s.io`.
pub const RUNTIME_CLASSES: &str = "runtimeclasses.node.k8s.io";
/// `endpointslices.discovery.k8s.io`.
pub const ENDPOINT_SLICES: &str = "endpointslices.discovery.k8s.io";
/// `flowschemas.flowcontrol.apiserver.k8s.io`.
pub const FLOW_SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
/// `prioritylevelconfigurations.flowcontrol.apiserver.k8s.io`.
pub const PRIORITY_LEVEL_CONFIGURATIONS: &str =
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";
/// `deviceclasses.resource.k8s.io`.
pub const DEVICE_CLASSES: &str = "deviceclasses.resource.k8s.io";
/// `resourceclaims.resource.k8s.io`.
pub const RESOURCE_CLAIMS: &str = "resourceclaims.resource.k8s.io";
/// `resourceclaimtemplates.resource.k8s.io`.
pub const RESOURCE_CLAIM_TEMPLATES: &str = "resourceclaimtemplates.resource.k8s.io";
/// `resourceslices.resource.k8s.io`.
pub const RESOURCE_SLICES: &str = "resourceslices.resource.k8s.io";
