//! A certificate authority of this user's own: one file, made when it is first needed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use time::OffsetDateTime;

use super::{random, wall};

/// The file's name in the state directory.
const FILE: &str = "proxy-ca.pem";
/// How long an authority is good for.
const LIFE: i64 = 3 * 365 * DAY;
pub(crate) const HOUR: i64 = 3600;
pub(crate) const DAY: i64 = 24 * HOUR;
/// How long a certificate for a name is good for.
pub(crate) const LEAF_LIFE: i64 = 2 * DAY;

/// Something is wrong with the authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its file cannot be had.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// `read`, `write`, …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file holds something else.
    #[error("{} is not an authority ({reason}); `squall proxy ca --renew` makes a new one", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is out of date.
    #[error("the authority in {} has expired; `squall proxy ca --renew` makes a new one", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {name}: {reason}")]
    Make {
        /// For which name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A certificate authority, with its private key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// Its distinguished name in DER, by which OCSP knows it.
    subject: Vec<u8>,
    name: String,
    expires: i64,
    path: Option<PathBuf>,
    leaf_key: KeyPair,
    leaf_signer: Arc<dyn SigningKey>,
    revoked: Mutex<BTreeSet<Vec<u8>>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("path", &self.path).field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority in this directory. The first who asks makes it, with mode 0600; of several at once, one wins and all get
    /// that one.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let path = directory.join(FILE);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link fails where the name is taken, so that nobody's authority is ever replaced unasked.
                put(directory, &path, &generate()?, |made, path| match std::fs::hard_link(made, path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    result => result,
                })?;
                std::fs::read(&path)
            }
            read => read,
        };
        let text = text.map_err(|source| AuthorityError::File { what: "read", path: path.clone(), source })?;
        Self::parse(&text, Some(path))
    }

    /// Makes a new one in this directory, in place of the one that is there.
    pub fn renew(directory: &Path) -> Result<Self, AuthorityError> {
        let (path, made) = (directory.join(FILE), generate()?);
        put(directory, &path, &made, |made, path| std::fs::rename(made, path))?;
        Self::parse(made.as_bytes(), Some(path))
    }

    /// One that is kept nowhere.
    pub fn in_memory() -> Result<Self, AuthorityError> {
        Self::parse(generate()?.as_bytes(), None)
    }

    fn parse(text: &[u8], path: Option<PathBuf>) -> Result<Self, AuthorityError> {
        let shown = path.clone().unwrap_or_else(|| "memory".into());
        let broken = |reason: String| AuthorityError::Broken { path: shown.clone(), reason };
        let certificate = CertificateDer::from_pem_slice(text).map_err(|e| broken(format!("no certificate: {e:?}")))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|e| broken(format!("no private key: {e:?}")))?;
        let key = KeyPair::try_from(&key).map_err(|e| broken(e.to_string()))?;
        let (subject, name, expires, same) = {
            let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|e| broken(e.to_string()))?;
            let same = *parsed.public_key().subject_public_key.data == *key.public_key_raw();
            let name = parsed.subject().iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or_default().to_owned();
            (parsed.subject().as_raw().to_vec(), name, parsed.validity().not_after.timestamp(), same)
        };
        if !same {
            return Err(broken("the key is not the certificate's".into()));
        }
        if expires <= wall() {
            return Err(AuthorityError::Expired { path: shown });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| broken(e.to_string()))?;
        let leaf_key = KeyPair::generate().map_err(|e| broken(e.to_string()))?;
        let leaf_signer = signing_key(&leaf_key).map_err(broken)?;
        Ok(Self { certificate, issuer, subject, name, expires, path, leaf_key, leaf_signer, revoked: Mutex::default() })
    }

    /// Where it is kept.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Its common name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate in PEM, without the key.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// SHA-256 over its certificate, as `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.certificate);
        hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// When it expires, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.expires
    }

    /// The list of the certificates that this process made as revoked, and those for these names: in DER.
    pub fn revocation_list(&self, names: &[String]) -> Result<Vec<u8>, AuthorityError> {
        for name in names {
            self.revoke(name);
        }
        let serials = self.revoked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        super::mint::revocation_list(self, serials.into_iter())
    }

    /// The same in PEM.
    pub fn revocation_list_pem(&self, names: &[String]) -> Result<String, AuthorityError> {
        Ok(pem("X509 CRL", &self.revocation_list(names)?))
    }

    /// The serial number of the revoked certificate for this name, which is on the list from now on. It is the same in every
    /// process, so that a list can be had before the certificate is.
    pub(crate) fn revoke(&self, name: &str) -> SerialNumber {
        let mut input = self.certificate.to_vec();
        input.extend_from_slice(b"revoked ");
        input.extend_from_slice(name.to_ascii_lowercase().as_bytes());
        let mut serial = digest::digest(&digest::SHA256, &input).as_ref()[..16].to_vec();
        // Positive, and never with a zero in front.
        serial[0] = serial[0] & 0x3f | 0x40;
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).insert(serial.clone());
        SerialNumber::from_slice(&serial)
    }

    pub(crate) fn is_revoked(&self, serial: &[u8]) -> bool {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner).contains(serial)
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The key of all certificates for names, made anew in each process and never written anywhere.
    pub(crate) fn leaf_key(&self) -> &KeyPair {
        &self.leaf_key
    }

    /// What a server shows: this chain, with the key of [`Self::leaf_key`].
    pub(crate) fn certified(&self, chain: Vec<CertificateDer<'static>>) -> CertifiedKey {
        CertifiedKey::new(chain, self.leaf_signer.clone())
    }
}

/// Where the authority of a process is, opened when it is first needed.
#[derive(Debug, Clone, Default)]
pub struct AuthorityDir {
    directory: Option<PathBuf>,
    opened: Arc<Mutex<Option<Arc<Authority>>>>,
}

impl AuthorityDir {
    /// In this directory, which is there.
    pub fn at(directory: &Path) -> Self {
        Self { directory: Some(directory.to_owned()), opened: Arc::default() }
    }

    /// In memory, for this process alone.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// The authority.
    pub fn get(&self) -> Result<Arc<Authority>, AuthorityError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = opened.as_ref().filter(|a| a.expires > wall()) {
            return Ok(authority.clone());
        }
        let authority = Arc::new(match &self.directory {
            Some(directory) => Authority::open(directory)?,
            None => Authority::in_memory()?,
        });
        *opened = Some(authority.clone());
        Ok(authority)
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    pem::encode_config(&pem::Pem::new(label, der), pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

pub(crate) fn make(name: &str, error: &impl ToString) -> AuthorityError {
    AuthorityError::Make { name: name.to_owned(), reason: error.to_string() }
}

pub(crate) fn signing_key(key: &KeyPair) -> Result<Arc<dyn SigningKey>, String> {
    any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into())).map_err(|e| e.to_string())
}

/// The certificate's fields of an authority of this name, good from an hour ago for so long.
pub(crate) fn authority_params(name: &str, life: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished.push(DnType::OrganizationName, "Squall");
    params.distinguished_name = distinguished;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (at(wall() - HOUR), at(wall() + life));
    params
}

/// The certificate's fields of a server with these names.
pub(crate) fn server_params(names: &[String]) -> Result<CertificateParams, AuthorityError> {
    let first = names.first().map_or("localhost", String::as_str);
    let mut params = CertificateParams::new(names.to_vec()).map_err(|e| make(first, &e))?;
    let mut distinguished = DistinguishedName::new();
    // A common name has at most 64 characters (RFC 5280, appendix A.1); it is for people only.
    distinguished.push(DnType::CommonName, first.chars().take(64).collect::<String>());
    params.distinguished_name = distinguished;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (at(wall() - HOUR), at(wall() + LEAF_LIFE));
    Ok(params)
}

/// A moment, from seconds since 1970.
pub(crate) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn generate() -> Result<String, AuthorityError> {
    let wrong = |e: rcgen::Error| make("the authority", &e);
    let key = KeyPair::generate().map_err(wrong)?;
    // Two authorities have two names, or clients that know one would say that the other's signatures are wrong.
    let id: String = digest::digest(&digest::SHA256, key.public_key_raw()).as_ref()[..4].iter().map(|b| format!("{b:02x}")).collect();
    let certificate = authority_params(&format!("Squall local authority {id}"), LIFE).self_signed(&key).map_err(wrong)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}

/// Writes the text to a file beside `path`, readable by this user alone and on disk, and puts it there.
fn put(directory: &Path, path: &Path, text: &str, place: impl FnOnce(&Path, &Path) -> io::Result<()>) -> Result<(), AuthorityError> {
    let temporary = directory.join(format!(".{FILE}.{}.{:x}", std::process::id(), u64::from_ne_bytes(random())));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        place(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    let written = write();
    // A rename has taken it away already.
    let _ = std::fs::remove_file(&temporary);
    written.map_err(|source| AuthorityError::File { what: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn many_at_once_get_the_same_authority_that_only_its_user_can_read() {
        let directory = tempfile::tempdir().unwrap();
        let fingerprints: BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Authority::open(directory.path()).unwrap().fingerprint())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(fingerprints.len(), 1);
        let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
        let mode = std::fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let renewed = Authority::renew(directory.path()).unwrap().fingerprint();
        assert!(!fingerprints.contains(&renewed));
        assert_eq!(Authority::open(directory.path()).unwrap().fingerprint(), renewed);
    }

    #[test]
    fn a_broken_file_is_named_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "nothing").unwrap();
        let error = Authority::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("--renew"), "{error}");
    }

    #[test]
    fn an_exported_certificate_holds_no_key() {
        let pem = Authority::in_memory().unwrap().pem();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"));
    }
}
