//! Certificates for names, the good ones, and the list of the revoked ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use rustls::sign::CertifiedKey;

use super::authority::{Authority, AuthorityError, DAY, HOUR, at, make, server_params};
use super::plan::{Issue, Ready, Request};
use super::wall;

/// Certificates that are kept of one kind. Clients ask for few names; whoever asks for more gets them made anew.
const KEPT: usize = 4096;

/// A certificate that is as it should be.
pub(crate) struct Good;

impl Issue for Good {
    fn issue(&self, authority: &Authority, request: &Request) -> Result<CertifiedKey, AuthorityError> {
        let params = server_params(&request.names)?;
        let leaf = params.signed_by(authority.leaf_key(), authority.issuer()).map_err(|e| make(&request.names.join(", "), &e))?;
        Ok(authority.certified(vec![leaf.into()]))
    }
}

/// Certificates of one kind that were made, by what they are for.
#[derive(Default)]
pub(crate) struct Minted(Mutex<HashMap<Request, Ready>>);

impl Minted {
    /// The certificate for this request, made now or not long ago.
    pub(crate) fn get(&self, issue: &dyn Issue, authority: &Authority, request: &Request) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let now = wall();
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = lock().get(request).filter(|ready| ready.until > now) {
            return Ok(ready.key.clone());
        }
        let key = Arc::new(issue.issue(authority, request)?);
        let mut kept = lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(request.clone(), Ready { key: key.clone(), until: now + issue.fresh_for() });
        Ok(key)
    }
}

/// A list of these serial numbers, in DER, good for a day.
pub(crate) fn revocation_list(authority: &Authority, serials: impl Iterator<Item = Vec<u8>>) -> Result<Vec<u8>, AuthorityError> {
    let now = wall();
    let revoked = |serial: Vec<u8>| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&serial),
        revocation_time: at(now - HOUR),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: at(now - HOUR),
        next_update: at(now + DAY),
        crl_number: SerialNumber::from_slice(&now.to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs: serials.map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(authority.issuer()).map_err(|e| make("the revocation list", &e))?;
    Ok(list.der().to_vec())
}
