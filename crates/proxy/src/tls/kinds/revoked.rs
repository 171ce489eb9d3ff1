//! `tls.revoked`

use rcgen::{CrlDistributionPoint, CustomExtension};
use rustls::sign::CertifiedKey;
use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::authority::{Authority, AuthorityError, make, server_params};
use crate::tls::der::{OID, SEQUENCE, encode, nest};
use crate::tls::ocsp::{self, Status};
use crate::tls::plan::{Issue, Plan, Request};
use crate::tls::responder::{LIST, OCSP};

/// id-pe-authorityInfoAccess (RFC 5280, section 4.2.2.1).
const AUTHORITY_INFO_ACCESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 1];
/// id-ad-ocsp, 1.3.6.1.5.5.7.48.1
const ACCESS_BY_OCSP: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 48, 1];
/// id-pe-tlsfeature (RFC 7633): with `status_request` in it, "must staple".
const TLS_FEATURE: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 24];

pub(super) struct Revoked {
    args: Args,
}

/// The settings of `tls.revoked`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// Whether the handshake carries an OCSP response that says so, for clients that ask for one.
    #[serde(default = "yes")]
    staple: bool,
    /// Whether the certificate says that it may only be believed with such a response (RFC 7633).
    #[serde(default)]
    must_staple: bool,
    /// Whether the certificate tells where its revocation list is and where to ask by OCSP: at the proxy itself, over plain HTTP.
    #[serde(default = "yes")]
    urls: bool,
}

const fn yes() -> bool {
    true
}

impl TlsFault for Revoked {
    type Args = Args;
    const NAME: &'static str = "tls.revoked";
    const SUMMARY: &'static str = "The certificate was revoked, by stapled OCSP, revocation list and OCSP";
    const EXAMPLE: &'static str = "{ fault: tls.revoked, with: { staple: true } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        Ok(Plan::certificate(Self { args }))
    }
}

impl Issue for Revoked {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let name = request.names.first().map_or("localhost", String::as_str);
        let serial = authority.revoke(name);
        let mut params = server_params(&request.names)?;
        params.serial_number = Some(serial.clone());
        if let Some(reached) = request.reached.as_ref().filter(|_| self.args.urls) {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![format!("http://{reached}{LIST}")] }];
            let access = nest(SEQUENCE, &[&encode(OID, &ACCESS_BY_OCSP), &encode(0x86, format!("http://{reached}{OCSP}").as_bytes())]);
            params.custom_extensions.push(CustomExtension::from_oid_content(&AUTHORITY_INFO_ACCESS, encode(SEQUENCE, &access)));
        }
        if self.args.must_staple {
            params.custom_extensions.push(CustomExtension::from_oid_content(&TLS_FEATURE, vec![SEQUENCE, 3, 2, 1, 5]));
        }
        let leaf = params.signed_by(authority.leaf_key(), authority.issuer()).map_err(|e| make(name, &e))?;
        // Clients that check a stapled response look for the issuer in the chain, and curl nowhere else.
        let mut key = authority.certified(vec![leaf.into(), authority.certificate().clone()]);
        if self.args.staple {
            let id = ocsp::certificate_id(authority, &serial.to_bytes());
            key.ocsp = Some(ocsp::response(authority, &id, Status::Revoked)?);
        }
        Ok(key)
    }
}
