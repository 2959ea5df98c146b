//! Job and CronJob.
//!
//! Upstream counterparts: `pkg/apis/batch/validation`, `pkg/registry/batch/*`, `printers`.

use crate::{
    Part, Strategy,
    check::{
        self, Errors, Place, at, immutable, label_selector, none_negative, one_of, one_of_if_set,
    },
    pod,
    print::{NONE, age, containers, is_true, name, or_none, selector},
};
use machinery::{FieldError, LabelSelector, Object, Ref, Value, human_duration, parse_time};
use std::sync::OnceLock;

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            warnings: crate::warnings::template,
            prepare_create: generate_selector,
            validate_create: new_job,
            validate: |job| {
                let mut errors = Errors::new();
                job_spec(&mut errors, at!("spec"), &job["spec"], true);
                selector_fits(&mut errors, &job["spec"]);
                errors
            },
            validate_update: job_update,
            default_propagation: crate::Propagation::Orphan,
            unsaid_propagation: "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "Status",
            "Completions",
            "Duration",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        row: Some(job_row),
        selectable: &["status.successful"],
        ..Part::plain(crate::JOBS)
    },
    Part {
        strategy: Strategy {
            warnings: crate::warnings::template,
            name_check: cron_name,
            validate: cron_job,
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "Schedule",
            "Timezone",
            "Suspend:boolean",
            "Active:integer",
            "Last Schedule",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        row: Some(cron_row),
        ..Part::plain(crate::CRON_JOBS)
    },
];

/// Pods of a job are found by its uid, which nobody has to invent.
fn generate_selector(job: &mut Value) {
    if job.at(&["spec", "manualSelector"]).as_bool() == Some(true) {
        return;
    }
    let (name, uid) = (Value::from(job.name()), Value::from(job.uid()));
    let labels = job.object_at(&["spec", "template", "metadata", "labels"]);
    for (key, value) in [
        ("controller-uid", &uid),
        (CONTROLLER_UID, &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        // What the client says is refused later if it is wrong.
        labels.entry_or(key, || value.clone());
    }
    job.object_at(&["spec", "selector", "matchLabels"])
        .entry_or(CONTROLLER_UID, || uid);
    // Where a name makes no label, the template is refused for it.
    let fits = job.name().len() <= 63;
    if fits && job.at(&["metadata", "labels"]).entries().next().is_none() {
        let labels = job.at(&["spec", "template", "metadata", "labels"]).clone();
        job.set_at(&["metadata", "labels"], labels);
    }
}

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

/// The selector must find the pods of the template; none finds nothing.
fn selector_fits(errors: &mut Errors, spec: &Value) {
    let labels = spec.at(&["template", "metadata", "labels"]);
    let bytes = machinery::flat::encode(&spec["selector"]);
    let selector = LabelSelector::from_ref(Ref::new(&bytes));
    let fits = selector.matches(|key| labels.get(key).and_then(Value::as_str));
    if spec["selector"].is_null() || !fits {
        let why = "`selector` does not match template `labels`";
        let field = "spec.template.metadata.labels";
        errors.push(FieldError::invalid(field, labels, why));
    }
}

/// A selector that nobody wrote selects the job's own pods, and the template fits it.
fn generated_selector(job: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = &job["spec"];
    if spec["manualSelector"].as_bool() == Some(true) || spec["selector"].is_null() {
        return errors;
    }
    let labels = spec.at(&["template", "metadata", "labels"]);
    for (key, wanted) in [
        ("controller-uid", job.uid()),
        (CONTROLLER_UID, job.uid()),
        ("job-name", job.name()),
        ("batch.kubernetes.io/job-name", job.name()),
    ] {
        if labels[key].str() != wanted {
            let field = "spec.template.metadata.labels";
            errors.push(FieldError::invalid(
                field,
                labels,
                format!("must be '{wanted}'"),
            ));
        }
    }
    let own = machinery::json!({"matchLabels": {"batch.kubernetes.io/controller-uid": job.uid()}});
    if spec["selector"] != own {
        let why = "`selector` not auto-generated";
        errors.push(FieldError::invalid("spec.selector", &spec["selector"], why));
    }
    errors
}

/// Names of jobs made from it add eleven characters.
fn cron_name(name: &str) -> Vec<String> {
    let mut errors = machinery::dns1123_subdomain(name);
    if name.len() > 52 {
        errors.push("must be no more than 52 characters".into());
    }
    errors
}

/// Pods at a time that have an index.
const INDEXED_MAX: i64 = 100_000;

/// What only makes sense where pods have an index.
fn indexed(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    const WHY: &str = "requires indexed completion mode";
    if spec["completionMode"].str() != "Indexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            if !spec[field].is_null() {
                let field_path = at!("{path}.{field}");
                errors.push(FieldError::invalid(field_path, &spec[field], WHY));
            }
        }
        return;
    }
    let number = |field: &str| spec[field].as_i64();
    if let Some(count) = number("parallelism").filter(|count| *count > INDEXED_MAX) {
        let why =
            format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
        errors.push(FieldError::invalid(at!("{path}.parallelism"), count, why));
    }
    if let Some((most, all)) = number("maxFailedIndexes").zip(number("completions"))
        && most > all
    {
        let field = at!("{path}.maxFailedIndexes");
        let why = "must be less than or equal to completions";
        errors.push(FieldError::invalid(field, most, why));
    }
    let rules = spec.at(&["successPolicy", "rules"]).items();
    for (at, rule) in rules.iter().enumerate() {
        success_rule(errors, at!("{path}.successPolicy.rules[{at}]"), rule, spec);
    }
}

fn success_rule(errors: &mut Errors, path: Place<'_>, rule: &Value, spec: &Value) {
    let completions = spec["completions"].as_i64().unwrap_or(0);
    let (count, indexes) = (rule["succeededCount"].as_i64(), &rule["succeededIndexes"]);
    if count.is_none() && indexes.is_null() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, why));
    }
    if let Some(text) = indexes.as_str()
        && let Some(why) = index_error(text, completions)
    {
        let why = format!("error parsing succeededIndexes: {why}");
        errors.push(FieldError::invalid(
            at!("{path}.succeededIndexes"),
            text,
            why,
        ));
    }
    let field = at!("{path}.succeededCount");
    check::not_negative(errors, field, &rule["succeededCount"]);
    if let Some(count) = count.filter(|count| *count > completions) {
        let why = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.push(FieldError::invalid(field, count, why));
    }
}

/// What keeps a text from being a list of indexes such as `1,3-5`.
fn index_error(text: &str, completions: i64) -> Option<String> {
    text.split([',', '-'])
        .find_map(|part| match part.parse::<i64>() {
            Err(_) => Some(format!(
                "cannot convert string to integer for index: {part:?}"
            )),
            Ok(index) if index >= completions => Some(format!("too large index: {part:?}")),
            Ok(_) => None,
        })
}

fn failure_rule(errors: &mut Errors, path: Place<'_>, rule: &Value, spec: &Value) {
    let actions = &["Count", "FailIndex", "FailJob", "Ignore"];
    one_of(errors, at!("{path}.action"), &rule["action"], actions);
    if rule["action"].str() == "FailIndex" && spec["backoffLimitPerIndex"].is_null() {
        let why = "requires the backoffLimitPerIndex to be set";
        errors.push(FieldError::invalid(at!("{path}.action"), "FailIndex", why));
    }
    let (codes, conditions) = (&rule["onExitCodes"], rule["onPodConditions"].items());
    if !codes.is_null() {
        exit_codes(errors, at!("{path}.onExitCodes"), codes, spec);
    }
    for (at, one) in conditions.iter().enumerate() {
        let path = at!("{path}.onPodConditions[{at}]");
        let kind = one["type"].str();
        check::syntax(errors, at!("{path}.type"), kind, machinery::qualified_name);
        let known = &["False", "True", "Unknown"];
        one_of(errors, at!("{path}.status"), &one["status"], known);
    }
    let why = match (codes.is_null(), conditions.is_empty()) {
        (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        _ => return,
    };
    errors.push(FieldError::invalid(path, Value::Null, why).without_value());
}

fn exit_codes(errors: &mut Errors, path: Place<'_>, codes: &Value, spec: &Value) {
    let operator = codes["operator"].str();
    let known = &["In", "NotIn"];
    one_of(errors, at!("{path}.operator"), &codes["operator"], known);
    if let Some(name) = codes["containerName"].as_str() {
        let pod = spec.at(&["template", "spec"]);
        let lists = ["containers", "initContainers"];
        let mut all = lists.iter().flat_map(|list| pod[*list].items());
        if all.all(|one| one["name"].str() != name) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(at!("{path}.containerName"), name, why));
        }
    }
    let (values, path) = (codes["values"].items(), at!("{path}.values"));
    if values.is_empty() {
        let why = "at least one value is required";
        errors.push(FieldError::invalid(path, Value::Array(Vec::new()), why));
    }
    for (at, value) in values.iter().enumerate() {
        let field = at!("{path}[{at}]");
        if operator == "In" && value.as_i64() == Some(0) {
            let why = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(field, 0_i64, why));
        }
        if values[..at].contains(value) {
            errors.push(FieldError::duplicate(field, value));
        }
    }
}

fn new_job(job: &Value) -> Errors {
    let mut errors = indexed_name(job);
    errors.extend(generated_selector(job));
    errors
}

/// Pods of an indexed Job are named after it and their index, which must make a host name.
fn indexed_name(job: &Value) -> Errors {
    let mut errors = Errors::new();
    let (name, spec) = (job.at(&["metadata", "name"]).str(), &job["spec"]);
    let completions = spec["completions"].as_i64().unwrap_or_default();
    if spec["completionMode"].str() == "Indexed" && completions > 0 {
        let last = format!("{name}-{}", completions - 1);
        if !machinery::dns1123_label(&last).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {last}");
            errors.push(FieldError::invalid("metadata.name", name, why));
        }
    }
    errors
}

fn job_spec(errors: &mut Errors, path: Place<'_>, spec: &Value, whole: bool) {
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    none_negative(errors, path, spec, &numbers);
    one_of_if_set(
        errors,
        at!("{path}.completionMode"),
        &spec["completionMode"],
        &["NonIndexed", "Indexed"],
    );
    if spec["completionMode"].str() == "Indexed" && spec["completions"].is_null() {
        let why = "when completion mode is Indexed";
        errors.push(FieldError::required(at!("{path}.completions"), why));
    }
    if whole && spec["selector"].is_null() {
        errors.push(FieldError::required(at!("{path}.selector"), ""));
    }
    label_selector(errors, at!("{path}.selector"), &spec["selector"]);
    pod::template(errors, at!("{path}.template"), &spec["template"]);
    let (policy, field) = (
        spec.at(&["template", "spec", "restartPolicy"]),
        at!("{path}.template.spec.restartPolicy"),
    );
    if policy.str() == "Always" {
        errors.push(FieldError::required(
            field,
            "valid values: \"OnFailure\", \"Never\"",
        ));
    }
    let failure = &spec["podFailurePolicy"];
    if !failure.is_null() && policy.str() != "Never" {
        let field = at!("{path}.template.spec.restartPolicy");
        let why = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(FieldError::invalid(field, policy, why));
    }
    for (at, rule) in failure["rules"].items().iter().enumerate() {
        failure_rule(
            errors,
            at!("{path}.podFailurePolicy.rules[{at}]"),
            rule,
            spec,
        );
    }
    let (replace, field) = (
        &spec["podReplacementPolicy"],
        at!("{path}.podReplacementPolicy"),
    );
    let ways = &["Failed", "TerminatingOrFailed"];
    let ways = if failure.is_null() {
        &ways[..]
    } else {
        &ways[..1]
    };
    one_of_if_set(errors, field, replace, ways);
    if let Some(manager) = spec["managedBy"].as_str() {
        check::domain_path(errors, at!("{path}.managedBy"), manager);
    }
    indexed(errors, path, spec);
}

fn job_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    let indexed =
        new["completionMode"].str() == "Indexed" && new["parallelism"] == new["completions"];
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        immutable(&mut errors, at!("spec.{field}"), &new[field], &old[field]);
    }
    if !indexed {
        immutable(
            &mut errors,
            at!("spec.completions"),
            &new["completions"],
            &old["completions"],
        );
    }
    // A suspended job has not placed pods yet, so where they go may still change.
    let frozen = |spec: &Value| {
        let mut template = spec["template"].clone();
        if old["suspend"].as_bool() == Some(true) {
            for field in ["nodeSelector", "tolerations", "affinity", "schedulingGates"] {
                template.remove_at(&["spec", field]);
            }
            template.remove_at(&["metadata"]);
        }
        template
    };
    if frozen(new) != frozen(old) {
        errors.push(FieldError::invalid(
            "spec.template",
            &new["template"],
            check::IMMUTABLE,
        ));
    }
    errors
}

fn cron_job(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let schedule = spec["schedule"].str();
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if let Some(why) = schedule_error(schedule) {
        errors.push(FieldError::invalid("spec.schedule", schedule, why));
    }
    none_negative(
        &mut errors,
        at!("spec"),
        spec,
        &[
            "startingDeadlineSeconds",
            "successfulJobsHistoryLimit",
            "failedJobsHistoryLimit",
        ],
    );
    one_of(
        &mut errors,
        at!("spec.concurrencyPolicy"),
        &spec["concurrencyPolicy"],
        &["Allow", "Forbid", "Replace"],
    );
    if spec["timeZone"].as_str() == Some("") {
        let why = "timeZone must be nil or non-empty string";
        errors.push(FieldError::invalid("spec.timeZone", "", why));
    }
    let (template, path) = (spec.at(&["jobTemplate", "spec"]), "spec.jobTemplate.spec");
    if !template["selector"].is_null() {
        let why = "`selector` will be auto-generated";
        let field = at!("{path}.selector");
        errors.push(FieldError::invalid(field, &template["selector"], why));
    }
    if template["manualSelector"].as_bool() == Some(true) {
        let field = at!("{path}.manualSelector");
        errors.push(FieldError::not_supported(field, true, &["nil", "false"]));
    }
    if spec["timeZone"].str().eq_ignore_ascii_case("local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid("spec.timeZone", &spec["timeZone"], why));
    }
    let zone = spec["timeZone"].str();
    if !zone.is_empty() && !zone.eq_ignore_ascii_case("local") && !is_time_zone(zone) {
        let why = format!("unknown time zone {zone}");
        errors.push(FieldError::invalid("spec.timeZone", zone, why));
    }
    job_spec(
        &mut errors,
        at!("spec.jobTemplate.spec"),
        spec.at(&["jobTemplate", "spec"]),
        false,
    );
    errors
}

/// Whether the IANA's database has a zone of this name, in this case.
fn is_time_zone(name: &str) -> bool {
    static ZONES: OnceLock<jiff::tz::TimeZoneDatabase> = OnceLock::new();
    let zones = ZONES.get_or_init(jiff::tz::TimeZoneDatabase::bundled);
    zones
        .get(name)
        .is_ok_and(|zone| zone.iana_name() == Some(name))
}

/// What keeps a text from being a schedule: five fields, or `@daily` and the like.
fn schedule_error(schedule: &str) -> Option<String> {
    if schedule.contains("TZ") {
        return Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".into());
    }
    if let Some(word) = schedule.strip_prefix('@') {
        let known = [
            "yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly",
        ];
        let good = known.contains(&word) || word.starts_with("every ");
        return (!good).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Some(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    let parts = fields.iter().zip(BOUNDS);
    parts
        .flat_map(|(field, bounds)| field.split(',').map(move |part| (part, bounds)))
        .find_map(|(part, bounds)| range_error(part, bounds))
}

fn range_error(part: &str, (low, high): (u32, u32)) -> Option<String> {
    let (range, step) = part
        .split_once('/')
        .map_or((part, "1"), |(range, step)| (range, step));
    match step.parse::<u32>() {
        Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
        Ok(_) => {}
        Err(_) => {
            return Some(format!(
                "failed to parse int from {step}: strconv.Atoi: parsing {step:?}: invalid syntax"
            ));
        }
    }
    if matches!(range, "*" | "?") {
        return None;
    }
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    for end in [from, to] {
        let named = end.len() == 3 && end.bytes().all(|byte| byte.is_ascii_alphabetic());
        match end.parse::<u32>() {
            _ if named => {}
            Err(_) => {
                return Some(format!(
                    "failed to parse int from {end}: strconv.Atoi: parsing {end:?}: invalid syntax"
                ));
            }
            Ok(number) if number < low => {
                return Some(format!(
                    "beginning of range ({number}) below minimum ({low}): {part}"
                ));
            }
            Ok(number) if number > high => {
                return Some(format!(
                    "end of range ({number}) above maximum ({high}): {part}"
                ));
            }
            Ok(_) => {}
        }
    }
    let reversed = from
        .parse::<u32>()
        .ok()
        .zip(to.parse::<u32>().ok())
        .filter(|(from, to)| from > to);
    reversed
        .map(|(from, to)| format!("beginning of range ({from}) beyond end of range ({to}): {part}"))
}

fn job_row(o: &Object, now: u64) -> Vec<Value> {
    let (status, succeeded) = (o.at("status"), o.at("status.succeeded").i64());
    let parallelism = o.at("spec.parallelism").i64();
    let completions = match o.at("spec.completions").as_i64() {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let [names, images] = containers(o.at("spec.template.spec"));
    vec![
        name(o),
        job_state(o, status).into(),
        completions.into(),
        duration(status, now).into(),
        age(o, now),
        names,
        images,
        selector(o.at("spec.selector")),
    ]
}

fn job_state(o: &Object, status: Ref<'_>) -> &'static str {
    match () {
        () if is_true(status, "Complete") => "Complete",
        () if is_true(status, "Failed") => "Failed",
        () if o.is_deleting() => "Terminating",
        () if is_true(status, "Suspended") => "Suspended",
        () if is_true(status, "FailureTarget") => "FailureTarget",
        () if is_true(status, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn duration(status: Ref<'_>, now: u64) -> String {
    let Some(start) = parse_time(status.get("startTime").str()) else {
        return String::new();
    };
    let end = parse_time(status.get("completionTime").str()).unwrap_or(now);
    human_duration(end as i64 - start as i64)
}

fn cron_row(o: &Object, now: u64) -> Vec<Value> {
    let last = o.at("status.lastScheduleTime").str();
    let last = if last.is_empty() {
        NONE.to_owned()
    } else {
        crate::age(last, now)
    };
    let suspended = if o.at("spec.suspend").is_true() {
        "True"
    } else {
        "False"
    };
    let [names, images] = containers(o.at("spec.jobTemplate.spec.template.spec"));
    vec![
        name(o),
        o.at("spec.schedule").str().into(),
        or_none(o.at("spec.timeZone").str()),
        suspended.into(),
        o.at("status.active").items().count().into(),
        last.into(),
        age(o, now),
        names,
        images,
        selector(o.at("spec.jobTemplate.spec.selector")),
    ]
}
