//! Alerts of RFC 8446, section 6, and RFC 5246, section 7.2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! alerts {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// A fatal alert.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) enum Alert {
            $($(#[$doc])* $name,)*
        }

        impl Alert {
            fn code(self) -> u8 {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

alerts! {
    /// 20: a record could not be verified.
    BadRecordMac = 20,
    /// 40: no common parameters, or the server will not say.
    #[default]
    HandshakeFailure = 40,
    /// 42: the client's certificate is broken.
    BadCertificate = 42,
    /// 43: the client's certificate is of a kind that is not taken.
    UnsupportedCertificate = 43,
    /// 44: the client's certificate was revoked.
    CertificateRevoked = 44,
    /// 45: the client's certificate is out of date.
    CertificateExpired = 45,
    /// 46: something else is wrong with the client's certificate.
    CertificateUnknown = 46,
    /// 47: a field is out of range.
    IllegalParameter = 47,
    /// 48: the client's certificate is of an authority that is not known.
    UnknownCa = 48,
    /// 49: the client's certificate is good, and not let in.
    AccessDenied = 49,
    /// 50: a message could not be read.
    DecodeError = 50,
    /// 51: a signature or a check failed.
    DecryptError = 51,
    /// 70: the client's protocol versions are known and refused.
    ProtocolVersion = 70,
    /// 71: the client's ciphers are too weak.
    InsufficientSecurity = 71,
    /// 80: the server failed, for a reason of its own.
    InternalError = 80,
    /// 90: the user cancelled.
    UserCanceled = 90,
    /// 112: there is no server of that name.
    UnrecognizedName = 112,
    /// 116: a certificate of the client is required (TLS 1.3).
    CertificateRequired = 116,
    /// 120: none of the client's protocols is known.
    NoApplicationProtocol = 120,
}

impl Alert {
    /// The record that carries it in clear, as before any keys are agreed on.
    pub(crate) fn record(self) -> Vec<u8> {
        vec![21, 3, 3, 0, 2, 2, self.code()]
    }
}
