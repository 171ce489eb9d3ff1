//! What a provider says of somebody, and what that makes of them here.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value as Json};
use squall_api::users::Role;
use squall_engine::Clock;

use super::{OidcError, Provider, ProviderConfig};

/// How far apart the clocks of provider and server may be, in seconds.
const SKEW: i64 = 60;

/// Signatures with a key of the provider's. Not `none`, and not HMAC, for which a public key would be the secret.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Somebody, as a provider knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub subject: String,
    pub name: Option<String>,
    pub display: Option<String>,
    pub email: Option<String>,
    pub roles: BTreeSet<Role>,
}

impl Provider {
    /// Who an ID token is for (Core 1.0, 3.1.3.7).
    pub async fn person(&self, clock: &dyn Clock, now: Timestamp, token: &str, nonce: &str) -> Result<Person, OidcError> {
        let odd = |what: String| OidcError::Unbelievable(what);
        let header = decode_header(token).map_err(|e| odd(format!("the ID token's header: {e}")))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(odd(format!("the ID token is signed by {:?}", header.alg)));
        }
        let key = self.key(clock, header.kid.as_deref()).await?;
        let key = DecodingKey::from_jwk(&key).map_err(|e| odd(format!("the provider's key: {e}")))?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.config.client_id]);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        // Times are judged below, by the server's own clock.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let claims = decode::<Map<String, Json>>(token, &key, &validation).map_err(|e| odd(format!("the ID token: {e}")))?.claims;
        check(&claims, &self.config.client_id, now.as_second(), nonce).map_err(odd)?;
        Ok(person(&self.config, &claims))
    }
}

fn check(claims: &Map<String, Json>, client: &str, now: i64, nonce: &str) -> Result<(), String> {
    // Dates may have fractions (RFC 7519, 2).
    #[expect(clippy::cast_possible_truncation, reason = "a float becomes the nearest whole second that there is")]
    let second = |name: &str| claims.get(name).and_then(Json::as_f64).map(|second| second as i64);
    if second("exp").is_none_or(|exp| exp <= now - SKEW) {
        return Err("the ID token has expired".into());
    }
    if second("nbf").is_some_and(|nbf| nbf > now + SKEW) || second("iat").is_none_or(|iat| iat > now + SKEW) {
        return Err("the ID token is from the future".into());
    }
    if claims.get("nonce").and_then(Json::as_str).is_none_or(|given| !crate::auth::secrets::equal(given, nonce)) {
        return Err("the ID token is for another login".into());
    }
    let several = claims.get("aud").and_then(Json::as_array).is_some_and(|aud| aud.len() > 1);
    let party = claims.get("azp").and_then(Json::as_str);
    if party.is_some_and(|party| party != client) || (several && party.is_none()) {
        return Err("the ID token was given to another client".into());
    }
    if claims.get("sub").and_then(Json::as_str).is_none_or(|sub| sub.is_empty() || sub.len() > 255) {
        return Err("the ID token does not say for whom it is".into());
    }
    Ok(())
}

fn person(config: &ProviderConfig, claims: &Map<String, Json>) -> Person {
    let text = |name: &str| {
        let text =
            claim(claims, name).and_then(Json::as_str).map(|text| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>());
        text.filter(|text| !text.is_empty())
    };
    let given = config.roles.iter().filter(|rule| match (&rule.claim, &rule.value) {
        (Some(name), Some(value)) => claim(claims, name).is_some_and(|claim| holds(claim, value)),
        _ => true,
    });
    Person {
        subject: text("sub").unwrap_or_default(),
        name: text(&config.user_claim).map(|name| name.to_lowercase()),
        display: text("name"),
        email: text("email"),
        roles: given.flat_map(|rule| rule.roles.iter().copied()).collect(),
    }
}

/// A claim by its name, which may itself have dots (`https://example.com/roles`), or by a path of names.
fn claim<'a>(claims: &'a Map<String, Json>, path: &str) -> Option<&'a Json> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

fn holds(claim: &Json, wanted: &str) -> bool {
    match claim {
        Json::String(text) => text == wanted,
        Json::Bool(given) => wanted == if *given { "true" } else { "false" },
        Json::Array(items) => items.iter().any(|item| item.as_str() == Some(wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(change: Json) -> Map<String, Json> {
        let mut claims = json!({ "sub": "1", "aud": "squall", "exp": 1000, "iat": 900, "nonce": "n" });
        for (key, value) in change.as_object().expect("an object") {
            claims[key] = value.clone();
        }
        claims.as_object().expect("an object").clone()
    }

    #[test]
    fn tokens_that_are_old_new_for_another_login_or_client_are_refused() {
        let now = 950;
        assert_eq!(check(&claims(json!({})), "squall", now, "n"), Ok(()));
        assert_eq!(check(&claims(json!({ "aud": ["squall", "b"], "azp": "squall" })), "squall", now, "n"), Ok(()));
        let bad = [
            json!({ "exp": 100 }),
            json!({ "exp": null }),
            json!({ "exp": "1000" }),
            json!({ "iat": 2000 }),
            json!({ "iat": null }),
            json!({ "nbf": 2000 }),
            json!({ "nonce": "other" }),
            json!({ "nonce": null }),
            json!({ "azp": "other" }),
            json!({ "aud": ["squall", "b"] }),
            json!({ "sub": "" }),
            json!({ "sub": 5 }),
        ];
        for change in bad {
            assert!(check(&claims(change.clone()), "squall", now, "n").is_err(), "{change}");
        }
    }

    #[test]
    fn roles_come_from_the_claims_that_the_configuration_names() {
        let config: ProviderConfig = serde_json::from_value(json!({
            "name": "corp", "issuer": "https://id.example", "clientId": "squall",
            "roles": [
                { "roles": ["viewer"] },
                { "claim": "groups", "value": "sre", "roles": ["operator"] },
                { "claim": "realm_access.roles", "value": "chaos-admin", "roles": ["admin"] },
                { "claim": "https://example.com/lead", "value": "true", "roles": ["approver"] },
            ],
        }))
        .expect("a configuration");
        let roles = |change: Json| person(&config, &claims(change)).roles.into_iter().map(Role::name).collect::<Vec<_>>();
        assert_eq!(roles(json!({})), ["viewer"]);
        assert_eq!(roles(json!({ "groups": ["dev", "sre"] })), ["viewer", "operator"]);
        assert_eq!(roles(json!({ "groups": "sre" })), ["viewer", "operator"]);
        assert_eq!(roles(json!({ "groups": "sre2, sre" })), ["viewer"]);
        assert_eq!(
            roles(json!({ "realm_access": { "roles": ["chaos-admin"] }, "https://example.com/lead": true })),
            ["viewer", "approver", "admin"]
        );
    }
}
