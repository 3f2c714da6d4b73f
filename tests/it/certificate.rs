//! Certificates for tests: of this machine, signed by themselves, good for long.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

/// A certificate for 127.0.0.1 and localhost, and its key; DER.
pub(crate) struct Certificate {
    pub(crate) cert: Vec<u8>,
    key: Vec<u8>,
}

/// Files that hold one.
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

// === impl Certificate ===

impl Certificate {
    pub(crate) fn make() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref()).unwrap();
        // RFC 5280 §4.1, as little of it as clients want.
        let ecdsa_with_sha256 = der(0x30, der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
        let common_name =
            der(0x30, [der(0x06, [0x55, 0x04, 0x03]), der(0x0c, b"sluice test".iter().copied())].concat());
        let name = der(0x30, der(0x31, common_name));
        let life = [der(0x17, *b"200101000000Z"), der(0x17, *b"491231235959Z")].concat();
        let ec_public_key = der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]);
        let p256 = der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
        let algorithm = der(0x30, [ec_public_key, p256].concat());
        let public_key = der(0x30, [algorithm, bits(pair.public_key().as_ref())].concat());
        let names = [der(0x82, *b"localhost"), der(0x87, [127, 0, 0, 1])].concat();
        let subject_alt_name = [der(0x06, [0x55, 0x1d, 0x11]), der(0x04, der(0x30, names))].concat();
        let extensions = der(0xa3, der(0x30, der(0x30, subject_alt_name)));
        let body = [
            der(0xa0, der(0x02, [2])),
            der(0x02, [1]),
            ecdsa_with_sha256.clone(),
            name.clone(),
            der(0x30, life),
            name,
            public_key,
            extensions,
        ];
        let body = der(0x30, body.concat());
        let signature = pair.sign(&random, &body).unwrap();
        let cert = der(0x30, [body, ecdsa_with_sha256, bits(signature.as_ref())].concat());
        Self { cert, key: key.as_ref().to_vec() }
    }

    pub(crate) fn cert_pem(&self) -> String {
        pem("CERTIFICATE", &self.cert)
    }

    pub(crate) fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }

    /// Writes it into a folder, the key closed to others.
    pub(crate) fn write(&self, folder: &Path) -> Files {
        let files = Files { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&files.cert, self.cert_pem()).unwrap();
        std::fs::write(&files.key, self.key_pem()).unwrap();
        close(&files.key);
        files
    }
}

/// Lets nobody else read a file.
pub(crate) fn close(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// One item of DER: tag, length, content.
fn der(tag: u8, content: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let content: Vec<u8> = content.into_iter().collect();
    let length = match content.len() {
        length @ 0..0x80 => vec![length as u8],
        length @ 0x80..0x100 => vec![0x81, length as u8],
        length => vec![0x82, (length >> 8) as u8, length as u8],
    };
    [vec![tag], length, content].concat()
}

fn bits(content: &[u8]) -> Vec<u8> {
    der(0x03, std::iter::once(0).chain(content.iter().copied()))
}

fn pem(label: &str, content: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(content);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
