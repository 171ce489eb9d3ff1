//! Keys and signatures that no library makes any more, as it should be: RSA below 2048 bits, and SHA-1.

use std::fmt;
use std::sync::Arc;

use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SignatureAlgorithm};
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::OsRng;
use rsa::sha2::{Sha256, Sha384};
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use rsa::{RsaPrivateKey, pkcs1v15, pss};
use rustls::pki_types::CertificateDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm as KeyAlgorithm, SignatureScheme};
use sha1::Sha1;

use super::der::{SEQUENCE, bits, inside, nest, read};

/// An RSA key of any size.
pub(crate) struct WeakKey {
    key: Arc<RsaPrivateKey>,
    public: Vec<u8>,
}

impl WeakKey {
    pub(crate) fn generate(bits: usize) -> Result<Self, String> {
        let key = RsaPrivateKey::new(&mut OsRng, bits).map_err(|e| e.to_string())?;
        let public = key.to_public_key().to_pkcs1_der().map_err(|e| e.to_string())?.as_bytes().to_vec();
        Ok(Self { key: Arc::new(key), public })
    }

    pub(crate) fn signing_key(&self) -> Arc<dyn SigningKey> {
        Arc::new(WeakSigningKey(self.key.clone()))
    }
}

impl PublicKeyData for WeakKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// The key as a server signs handshakes with it.
struct WeakSigningKey(Arc<RsaPrivateKey>);

/// What it can sign with, best first. Shorter keys have no room for longer hashes.
const SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PKCS1_SHA384,
];

impl fmt::Debug for WeakSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakSigningKey")
    }
}

impl SigningKey for WeakSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = SCHEMES.into_iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(WeakSigner { key: self.0.clone(), scheme }))
    }

    fn algorithm(&self) -> KeyAlgorithm {
        KeyAlgorithm::RSA
    }
}

struct WeakSigner {
    key: Arc<RsaPrivateKey>,
    scheme: SignatureScheme,
}

impl fmt::Debug for WeakSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Signer for WeakSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        fn signed<S: SignatureEncoding>(signer: &impl RandomizedSigner<S>, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
            let signature = signer.try_sign_with_rng(&mut OsRng, message);
            signature.map(|s| s.to_vec()).map_err(|_| rustls::Error::General("the key is too short to sign with".into()))
        }
        let key = RsaPrivateKey::clone(&self.key);
        match self.scheme {
            SignatureScheme::RSA_PSS_SHA256 => signed(&pss::SigningKey::<Sha256>::new(key), message),
            SignatureScheme::RSA_PSS_SHA384 => signed(&pss::SigningKey::<Sha384>::new(key), message),
            SignatureScheme::RSA_PKCS1_SHA384 => signed(&pkcs1v15::SigningKey::<Sha384>::new(key), message),
            _ => signed(&pkcs1v15::SigningKey::<Sha256>::new(key), message),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// An RSA key pair with 2048 bits, for an authority that signs with SHA-1.
pub(crate) fn rsa_key() -> Result<KeyPair, String> {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(|e| e.to_string())
}

/// `sha256WithRSAEncryption` and `sha1WithRSAEncryption` with their parameters (RFC 4055, section 5; RFC 3279, section 2.2.1):
/// of the same length, so that one can be replaced by the other in place.
const SHA256_RSA: [u8; 15] = [SEQUENCE, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0];
const SHA1_RSA: [u8; 15] = [SEQUENCE, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0];

/// The certificate, which this RSA key signed with SHA-256, signed with SHA-1 instead.
pub(crate) fn with_sha1(certificate: &[u8], issuer: &KeyPair) -> Result<CertificateDer<'static>, String> {
    let wrong = || "the certificate is not as expected".to_owned();
    let (outer, _) = read(certificate).ok_or_else(wrong)?;
    let mut tbs = inside(outer.content).next().ok_or_else(wrong)?.whole.to_vec();
    let place = tbs.windows(SHA256_RSA.len()).position(|window| window == SHA256_RSA).ok_or_else(wrong)?;
    tbs[place..place + SHA1_RSA.len()].copy_from_slice(&SHA1_RSA);
    let key = RsaPrivateKey::from_pkcs8_der(issuer.serialized_der()).map_err(|e| e.to_string())?;
    let signature = pkcs1v15::SigningKey::<Sha1>::new(key).try_sign_with_rng(&mut OsRng, &tbs).map_err(|e| e.to_string())?;
    Ok(nest(SEQUENCE, &[&tbs, &SHA1_RSA, &bits(&signature.to_vec())]).into())
}
