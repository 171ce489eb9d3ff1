//! OCSP responses (RFC 6960): what an authority says about one certificate.

use aws_lc_rs::digest;
use rcgen::{PublicKeyData, SigningKey};

use super::authority::{Authority, AuthorityError, DAY, HOUR, at, make};
use super::der::{ENUMERATED, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, bits, encode, inside, nest, read};
use super::wall;

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
const BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 48, 1, 1];
/// `AlgorithmIdentifier` of SHA-1, 1.3.14.3.2.26, by which certificates are named in OCSP.
const SHA1: [u8; 11] = [SEQUENCE, 9, OID, 5, 0x2b, 14, 3, 2, 26, 5, 0];
/// `AlgorithmIdentifier` of ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
const ECDSA_SHA256: [u8; 12] = [SEQUENCE, 10, OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// keyCompromise (RFC 5280, section 5.3.1).
const KEY_COMPROMISE: u8 = 1;

/// What is said of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Good,
    Revoked,
}

/// The `CertID` of the certificate of this authority with this serial number.
pub(crate) fn certificate_id(authority: &Authority, serial: &[u8]) -> Vec<u8> {
    let sha1 = |bytes: &[u8]| encode(OCTET_STRING, digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    let key = authority.issuer().key().der_bytes();
    nest(SEQUENCE, &[&SHA1, &sha1(authority.subject()), &sha1(key), &encode(INTEGER, serial)])
}

/// A signed response about the certificate with this `CertID`.
pub(crate) fn response(authority: &Authority, certificate_id: &[u8], status: Status) -> Result<Vec<u8>, AuthorityError> {
    let now = wall();
    let status = match status {
        Status::Good => vec![0x80, 0],
        Status::Revoked => nest(0xa1, &[&time(now - HOUR), &encode(0xa0, &encode(ENUMERATED, &[KEY_COMPROMISE]))]),
    };
    let single = nest(SEQUENCE, &[certificate_id, &status, &time(now - HOUR), &encode(0xa0, &time(now + DAY))]);
    let key_hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, authority.issuer().key().der_bytes());
    let responder = encode(0xa2, &encode(OCTET_STRING, key_hash.as_ref()));
    let data = nest(SEQUENCE, &[&responder, &time(now), &encode(SEQUENCE, &single)]);
    let signature = authority.issuer().key().sign(&data).map_err(|e| make("an OCSP response", &e))?;
    // The authority's certificate goes along: clients look for the signer in the response and in the chain, which has no root.
    let certificates = encode(0xa0, &encode(SEQUENCE, authority.certificate()));
    let basic = nest(SEQUENCE, &[&data, &ECDSA_SHA256, &bits(&signature), &certificates]);
    let bytes = nest(SEQUENCE, &[&encode(OID, &BASIC), &encode(OCTET_STRING, &basic)]);
    Ok(nest(SEQUENCE, &[&encode(ENUMERATED, &[0]), &encode(0xa0, &bytes)]))
}

/// The `CertID` that a request asks about, whole, and its serial number.
pub(crate) fn asked(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let (request, _) = read(request)?;
    let tbs = inside(request.content).next()?;
    let list = inside(tbs.content).find(|value| value.tag == SEQUENCE)?;
    let first = inside(list.content).next()?;
    let id = inside(first.content).next().filter(|value| value.tag == SEQUENCE)?;
    let serial = inside(id.content).nth(3).filter(|value| value.tag == INTEGER)?;
    Some((id.whole, serial.content))
}

fn time(seconds: i64) -> Vec<u8> {
    let t = at(seconds);
    let text = format!("{:04}{:02}{:02}{:02}{:02}{:02}Z", t.year(), u8::from(t.month()), t.day(), t.hour(), t.minute(), t.second());
    encode(GENERALIZED_TIME, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_tells_which_certificate_it_asks_about() {
        let authority = Authority::in_memory().unwrap();
        let id = certificate_id(&authority, &[0x41, 2, 3]);
        let request = nest(SEQUENCE, &[&nest(SEQUENCE, &[&encode(0xa0, &[INTEGER, 1, 0]), &nest(SEQUENCE, &[&nest(SEQUENCE, &[&id])])])]);
        assert_eq!(asked(&request), Some((&id[..], &[0x41, 2, 3][..])));
        assert_eq!(asked(b"GET /"), None);
    }
}
