//! Where programs ask for tokens of OAuth 2.0, and services of AWS that are told by one field what to do.
//!
//! Enters: a head. Leaves: a draft. Guarantees: of an action that is not known to read it is said that it changes something.
//! Does not: read what a token is for.

use super::hosts;
use super::request::{Draft, Request, Shape};
use policy::Verb;

/// Reads a head at a host that is not known: a token is asked for by a form (RFC 6749, section 3.2).
pub(super) fn oauth(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    // What a person then confirms in a browser (RFC 8628).
    if segments == ["login", "device", "code"] && request.service.is_some() && request.method() == "POST" {
        return Ok(Some(Draft::new(request.provider("oauth"), "token", Verb::Authorize)));
    }
    let [before @ .., "token" | "access_token"] = segments.as_slice() else { return Ok(None) };
    let is_oauth = before
        .iter()
        .any(|segment| matches!(*segment, "oauth" | "oauth2" | "openid-connect" | "oidc" | "identity"));
    if !is_oauth || request.method() != "POST" {
        return Ok(None);
    }
    let is_form = request.content_type()? == "application/x-www-form-urlencoded";
    let provider = request.provider("oauth");
    Ok(is_form.then(|| Draft::new(provider, "token", Verb::Authorize)))
}

/// Reads a head at AWS, of services whose action is in `X-Amz-Target`.
pub(super) fn aws(request: &Request<'_>) -> Shape {
    let provider = request.provider("aws");
    if request.method() != "POST" || !request.segments().is_empty() {
        return Ok(None);
    }
    // All that the Security Token Service does leads to tokens, or tells whose one is.
    if hosts::is_of_aws(request.head.host, &["sts"]) {
        return Ok(Some(Draft::new(provider, "token", Verb::Authorize)));
    }
    let Some(target) = request.header("x-amz-target")? else { return Ok(None) };
    let Some((_, action)) = target.rsplit_once('.') else { return Ok(None) };
    Ok(Some(Draft::new(provider, "action", verb(action))))
}

/// By the word that an action begins with; the rest changes something.
fn verb(action: &str) -> Verb {
    let begins = |words: &[&str]| words.iter().any(|word| action.starts_with(word));
    match action {
        "GetAuthorizationToken" | "GetSessionToken" => Verb::Authorize,
        "BatchGetImage"
        | "GetDownloadUrlForLayer"
        | "GetItem"
        | "BatchGetItem"
        | "Query"
        | "Scan"
        | "GetSecretValue"
        | "BatchGetSecretValue"
        | "GetRecord" => Verb::Download,
        "TransactGetItems" => Verb::Download,
        // A statement of PartiQL may insert.
        "CreateSecret"
        | "UpdateSecret"
        | "UpdateItem"
        | "TransactWriteItems"
        | "ExecuteStatement"
        | "BatchExecuteStatement"
        | "ExecuteTransaction" => Verb::Upload,
        _ if action.ends_with("Policy") && begins(&["Put"]) => Verb::Mutate,
        _ if begins(&["Put", "Upload", "InitiateLayerUpload", "CompleteLayerUpload", "BatchWrite"]) => {
            Verb::Upload
        }
        "Search" | "QueryLineage" => Verb::Meta,
        _ if begins(&["Describe", "List", "BatchCheck", "BatchGet", "Get", "BatchDescribe"]) => Verb::Meta,
        _ => Verb::Mutate,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn what_asks_for_a_token_is_told_by_its_form() {
        let form = "content-type: application/x-www-form-urlencoded";
        let body = "grant_type=client_credentials";
        check(&[
            (
                &format!("POST https://login.microsoftonline.com/t/oauth2/v2.0/token\n{form}"),
                body,
                "oauth token authorize",
            ),
            (
                &format!("POST https://sso.example/realms/r/protocol/openid-connect/token\n{form}"),
                body,
                "oauth token authorize",
            ),
            (
                &format!("POST https://oauth2.googleapis.com/token\n{form}"),
                body,
                "google-oauth token authorize",
            ),
            (
                &format!("POST https://github.com/login/oauth/access_token\n{form}"),
                body,
                "github token authorize",
            ),
            ("POST https://sso.example/oauth/token", body, "- unknown unknown"),
            (&format!("POST https://x.example/token\n{form}"), body, "- unknown unknown"),
            (&format!("GET https://sso.example/oauth/token\n{form}"), "", "- unknown unknown"),
        ]);
    }

    #[test]
    fn an_action_of_aws_that_is_not_known_to_read_changes_something() {
        let at =
            |host: &str, action: &str| format!("POST https://{host}/\nx-amz-target: Service_V1.{action}");
        let ecr = "api.ecr.eu-west-1.amazonaws.com";
        let sagemaker = "api.sagemaker.eu-west-1.amazonaws.com";
        check(&[
            (&at(ecr, "GetAuthorizationToken"), "{}", "aws action authorize"),
            (&at(ecr, "BatchGetImage"), "{}", "aws action download"),
            (&at(ecr, "PutImage"), "{}", "aws action upload"),
            (&at(ecr, "DescribeRepositories"), "{}", "aws action meta"),
            (&at(sagemaker, "CreateTrainingJob"), "{}", "aws action mutate"),
            (&at(sagemaker, "ListEndpoints"), "{}", "aws action meta"),
            (&at(sagemaker, "Search"), "{}", "aws action meta"),
            (&at(sagemaker, "UpdateEndpoint"), "{}", "aws action mutate"),
            (&at(ecr, "PutLifecyclePolicy"), "{}", "aws action mutate"),
            (&at(ecr, "BatchGetRepositoryScanningConfiguration"), "{}", "aws action meta"),
            (&at("secretsmanager.eu-west-1.amazonaws.com", "CreateSecret"), "{}", "aws action upload"),
            (&at("dynamodb.eu-west-1.amazonaws.com", "UpdateItem"), "{}", "aws action upload"),
            (&at("dynamodb.eu-west-1.amazonaws.com", "ExecuteStatement"), "{}", "aws action upload"),
            (&at("dynamodb.eu-west-1.amazonaws.com", "BatchExecuteStatement"), "{}", "aws action upload"),
            (&at("api.ecr-public.us-east-1.amazonaws.com", "UploadLayerPart"), "{}", "aws action upload"),
            (&at("sts.amazonaws.com", "x"), "Action=AssumeRoleWithWebIdentity", "aws token authorize"),
            (&format!("POST https://{ecr}/"), "{}", "aws unknown unknown"),
        ]);
    }
}
