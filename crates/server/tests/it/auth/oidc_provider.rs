//! An `OpenID` provider: real keys, real signatures, PKCE checked, codes good once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A key with its name.
pub struct Key {
    pub id: &'static str,
    algorithm: Algorithm,
    signing: EncodingKey,
}

impl Key {
    pub fn es256(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let der = pair.to_pkcs8v1().expect("PKCS #8");
        Self { id, algorithm: Algorithm::ES256, signing: EncodingKey::from_ec_der(der.as_ref()) }
    }

    pub fn rs256(id: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der = pair.as_der().expect("PKCS #8");
        // What PKCS #8 puts around the RSAPrivateKey (RFC 8017) of a key of this length: 26 bytes.
        Self { id, algorithm: Algorithm::RS256, signing: EncodingKey::from_rsa_der(&der.as_ref()[26..]) }
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signing, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.id.to_owned());
        json!(jwk)
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.signing).expect("signed")
    }
}

/// What a test changes.
pub struct Manners {
    /// The one that signs.
    pub key: Key,
    /// Those that it says it has; `None`: the one that signs.
    pub shown: Option<Value>,
    /// Over the claims that would be right.
    pub claims: Value,
    /// In place of a signed token.
    pub token: Option<fn(&str) -> String>,
    /// The issuer that the description names.
    pub issuer: Option<String>,
    pub now: i64,
    /// How often each path was asked for.
    pub asked: HashMap<&'static str, usize>,
}

struct Begun {
    nonce: String,
    challenge: String,
    redirect: String,
}

#[derive(Clone)]
pub struct Provider {
    pub url: String,
    pub manners: Arc<Mutex<Manners>>,
    codes: Arc<Mutex<HashMap<String, Begun>>>,
}

pub const CLIENT: (&str, &str) = ("squall client", "s3cret:with/odd+signs");

impl Provider {
    pub async fn start(key: Key, now: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let manners = Manners { key, shown: None, claims: json!({}), token: None, issuer: None, now, asked: HashMap::new() };
        let provider = Self { url, manners: Arc::new(Mutex::new(manners)), codes: Arc::default() };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// What the person does in front of the provider's page: signs in, and is sent back. Gives the code.
    pub fn authorize(&self, url: &str) -> String {
        let url = reqwest::Url::parse(url).expect("a URL");
        let given: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((given["response_type"].as_str(), given["client_id"].as_str()), ("code", CLIENT.0));
        assert_eq!(given["code_challenge_method"], "S256");
        assert!(given["scope"].split(' ').any(|scope| scope == "openid"), "{}", given["scope"]);
        let mut codes = self.codes.lock().expect("codes");
        let code = format!("code-{}", codes.len());
        let begun =
            Begun { nonce: given["nonce"].clone(), challenge: given["code_challenge"].clone(), redirect: given["redirect_uri"].clone() };
        codes.insert(code.clone(), begun);
        code
    }

    fn count(&self, what: &'static str) {
        *self.manners.lock().expect("manners").asked.entry(what).or_default() += 1;
    }
}

async fn configuration(State(provider): State<Provider>) -> Json<Value> {
    provider.count("configuration");
    let url = &provider.url;
    let issuer = provider.manners.lock().expect("manners").issuer.clone().unwrap_or_else(|| url.clone());
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{url}/authorize?tenant=1"), "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"), "response_types_supported": ["code"],
    }))
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    provider.count("keys");
    let manners = provider.manners.lock().expect("manners");
    let keys = manners.shown.clone().unwrap_or_else(|| json!([manners.key.public()]));
    Json(json!({ "keys": keys }))
}

async fn token(State(provider): State<Provider>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let form: HashMap<String, String> =
        reqwest::Url::parse(&format!("http://x/?{body}")).expect("a form").query_pairs().into_owned().collect();
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    // RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
    let basic = format!("Basic {}", STANDARD.encode("squall%20client:s3cret%3Awith%2Fodd%2Bsigns"));
    if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&basic) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" })));
    }
    let Some(begun) = form.get("code").and_then(|code| provider.codes.lock().expect("codes").remove(code)) else {
        return refused("invalid_grant");
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, form["code_verifier"].as_bytes());
    if URL_SAFE_NO_PAD.encode(digest.as_ref()) != begun.challenge || form["redirect_uri"] != begun.redirect {
        return refused("invalid_grant");
    }
    let manners = provider.manners.lock().expect("manners");
    let mut claims = json!({
        "iss": provider.url, "sub": "248289761001", "aud": CLIENT.0, "exp": manners.now + 300, "iat": manners.now, "nonce": begun.nonce,
        "preferred_username": "Grace", "name": "Grace Hopper", "email": "grace@example.com", "groups": ["sre"],
    });
    for (name, value) in manners.claims.as_object().expect("claims") {
        claims[name] = value.clone();
    }
    let signed = manners.key.sign(&claims);
    let token = manners.token.map_or(signed.clone(), |change| change(&signed));
    (StatusCode::OK, Json(json!({ "access_token": "x", "token_type": "Bearer", "id_token": token })))
}
