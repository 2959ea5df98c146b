//! `AdmissionReview` responses: whether one may be believed, and the refusal it may hold.
//!
//! Upstream counterparts: `admission/plugin/webhook/request` (`VerifyAdmissionResponse`),
//! `admission/plugin/webhook/errors`.

use super::{hooks::ReviewVersion, request::api_version};
use crate::common::texts;
use base64::{Engine, engine::general_purpose::STANDARD};
use machinery::{GroupVersion, Status, Value};

/// Codes below this say that all is well, which a refusal cannot.
const REFUSAL_MIN: i64 = 400;

/// A response that may be believed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub allowed: bool,
    /// A JSON patch as text; empty for none.
    pub patch: Vec<u8>,
    pub patch_type: String,
    /// `status` of the response.
    pub result: Value,
    pub warnings: Vec<String>,
}

/// Checks a response against the request it should answer.
///
/// # Errors
/// What is wrong with it.
pub(super) fn verify(
    review: &Value,
    version: ReviewVersion,
    uid: &str,
    mutating: bool,
) -> Result<Verdict, String> {
    let response = &review["response"];
    if response.is_null() {
        return Err("webhook response was absent".into());
    }
    let patch = STANDARD.decode(response["patch"].str());
    let patch = patch.map_err(|why| format!("response.patch is not base64: {why}"))?;
    let patch_type = response["patchType"].as_str();
    if version == ReviewVersion::V1 {
        check_identity(review, uid)?;
        check_patch(&patch, patch_type, mutating)?;
    }
    let patch_type = match version {
        ReviewVersion::V1 => patch_type.unwrap_or_default(),
        // The older form was never held to its patch type.
        ReviewVersion::V1Beta1 => "JSONPatch",
    };
    Ok(Verdict {
        allowed: response["allowed"].as_bool() == Some(true),
        patch: if mutating { patch } else { Vec::new() },
        patch_type: patch_type.to_owned(),
        result: response["status"].clone(),
        warnings: texts(&response["warnings"]).map(str::to_owned).collect(),
    })
}

fn check_identity(review: &Value, uid: &str) -> Result<(), String> {
    let said = review["response"]["uid"].str();
    if said != uid {
        return Err(format!("expected response.uid={uid:?}, got {said:?}"));
    }
    let wanted = api_version(ReviewVersion::V1);
    let (found, kind) = (review["apiVersion"].str(), review["kind"].str());
    if found != wanted || kind != "AdmissionReview" {
        return Err(format!(
            "expected webhook response of {wanted}, Kind=AdmissionReview, got {}, Kind={kind}",
            shown_version(found)
        ));
    }
    Ok(())
}

/// A group and version as upstream prints a kind's: `/v1` for core, `/` for none.
pub(super) fn shown_version(api_version: &str) -> String {
    let GroupVersion { group, version } = GroupVersion::parse(api_version);
    format!("{group}/{version}")
}

fn check_patch(patch: &[u8], patch_type: Option<&str>, mutating: bool) -> Result<(), String> {
    let why = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, false, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, _, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.into())
}

/// The refusal that a webhook's `status` makes.
pub(super) fn refusal(name: &str, result: &Value) -> Status {
    let denied = format!("admission webhook {name:?} denied the request");
    let reason = result["reason"].str();
    let message = match (result["message"].str(), reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = result["code"].as_i64().unwrap_or(0).max(REFUSAL_MIN);
    let code = u16::try_from(code).unwrap_or(500);
    Status::foreign(code, reason, message, result["details"].clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn responses_are_believed_only_if_they_answer() {
        let answer = |response: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        for (review, mutating, why) in [
            (json!({}), true, "webhook response was absent"),
            (
                answer(json!({"uid": "other"})),
                true,
                "expected response.uid=\"u\", got \"other\"",
            ),
            (
                json!({"response": {"uid": "u"}}),
                true,
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
            ),
            (
                answer(json!({"uid": "u", "patch": "W10="})),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                answer(json!({"uid": "u", "patchType": "JSONPatch"})),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                answer(json!({"uid": "u", "patch": "W10="})),
                false,
                "validating webhook may not return response.patch",
            ),
            (
                answer(json!({"uid": "u", "patchType": "JSONPatch"})),
                false,
                "validating webhook may not return response.patchType",
            ),
        ] {
            let refused = verify(&review, ReviewVersion::V1, "u", mutating);
            assert_eq!(refused.unwrap_err(), why);
        }
        let good = answer(json!({"uid": "u", "allowed": true, "warnings": ["w"]}));
        let verdict = verify(&good, ReviewVersion::V1, "u", false).unwrap();
        assert!(verdict.allowed && verdict.warnings == ["w"]);
        let old = json!({"response": {"allowed": true, "patch": "W10="}});
        let verdict = verify(&old, ReviewVersion::V1Beta1, "u", true).unwrap();
        assert_eq!(verdict.patch, b"[]");
    }

    #[test]
    fn refusals_carry_code_reason_and_words() {
        for (result, code, reason, message) in [
            (
                Value::Null,
                400,
                "",
                "denied the request without explanation",
            ),
            (json!({"message": "no"}), 400, "", "denied the request: no"),
            (
                json!({"reason": "Forbidden", "code": 403}),
                403,
                "Forbidden",
                "denied the request: Forbidden",
            ),
            (
                json!({"message": "m", "code": 200}),
                400,
                "",
                "denied the request: m",
            ),
            (
                json!({"message": "m", "code": 418, "reason": "Teapot"}),
                418,
                "Teapot",
                "denied the request: m",
            ),
        ] {
            let status = refusal("x", &result);
            let value = status.to_value();
            assert_eq!(
                status.message(),
                format!("admission webhook \"x\" {message}")
            );
            assert_eq!(
                (value["code"].as_i64(), value["reason"].str()),
                (Some(code), reason)
            );
            assert_eq!(i64::from(status.code()), code);
        }
    }
}
