//! One certificate's content, signed by the authority.
//!
//! Written as its own DER because names may hold several organizations: they are a user's groups.
//! Upstream counterpart: `pkg/controller/certificates/authority`.

use super::{BACKDATE, Credential, LEAF_LIFE, PkiError, Validity, error};
use env::Time;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use std::{net::IpAddr, time::Duration};
use x509_cert::{
    Certificate, TbsCertificate, Version,
    attr::AttributeTypeAndValue,
    der::{
        Any, Decode, DecodePem, Encode, EncodePem,
        asn1::{
            BitString, GeneralizedTime, Ia5String, ObjectIdentifier, OctetString, SetOfVec,
            UtcTime, Utf8StringRef,
        },
        flagset::FlagSet,
        oid::AssociatedOid,
        pem::LineEnding,
    },
    ext::{
        AsExtension, Extension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
            SubjectAltName, SubjectKeyIdentifier, name::GeneralName,
        },
    },
    name::{RdnSequence, RelativeDistinguishedName},
    request::{CertReq, ExtensionReq},
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time as CertificateTime, Validity as Period},
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// Bytes of a serial number.
const SERIAL_BYTES: usize = 16;
/// No certificate is issued for less than this.
const LIFE_MIN: Duration = Duration::from_secs(600);
/// Certificates that hold at least this long give their backdating back at the end.
const LIFE_SHORT: Duration = Duration::from_secs(8 * 3600);

/// What a certificate's key may be used for, by the names of `spec.usages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    DigitalSignature,
    KeyEncipherment,
    ServerAuth,
    ClientAuth,
    Other(KeyUsages),
    Purpose(&'static str),
}

impl Use {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "digital signature" | "signing" => Self::DigitalSignature,
            "key encipherment" => Self::KeyEncipherment,
            "server auth" => Self::ServerAuth,
            "client auth" => Self::ClientAuth,
            "content commitment" => Self::Other(KeyUsages::NonRepudiation),
            "key agreement" => Self::Other(KeyUsages::KeyAgreement),
            "data encipherment" => Self::Other(KeyUsages::DataEncipherment),
            "cert sign" => Self::Other(KeyUsages::KeyCertSign),
            "crl sign" => Self::Other(KeyUsages::CRLSign),
            "encipher only" => Self::Other(KeyUsages::EncipherOnly),
            "decipher only" => Self::Other(KeyUsages::DecipherOnly),
            "any" => Self::Purpose("2.5.29.37.0"),
            "code signing" => Self::Purpose("1.3.6.1.5.5.7.3.3"),
            "email protection" | "s/mime" => Self::Purpose("1.3.6.1.5.5.7.3.4"),
            "ipsec end system" => Self::Purpose("1.3.6.1.5.5.7.3.5"),
            "ipsec tunnel" => Self::Purpose("1.3.6.1.5.5.7.3.6"),
            "ipsec user" => Self::Purpose("1.3.6.1.5.5.7.3.7"),
            "timestamping" => Self::Purpose("1.3.6.1.5.5.7.3.8"),
            "ocsp signing" => Self::Purpose("1.3.6.1.5.5.7.3.9"),
            "microsoft sgc" => Self::Purpose("1.3.6.1.4.1.311.10.3.3"),
            "netscape sgc" => Self::Purpose("2.16.840.1.113730.4.1"),
            _ => return None,
        })
    }

    fn key_usage(self) -> Option<KeyUsages> {
        match self {
            Self::DigitalSignature => Some(KeyUsages::DigitalSignature),
            Self::KeyEncipherment => Some(KeyUsages::KeyEncipherment),
            Self::Other(usage) => Some(usage),
            _ => None,
        }
    }

    fn purpose(self) -> Option<ObjectIdentifier> {
        let text = match self {
            Self::ServerAuth => "1.3.6.1.5.5.7.3.1",
            Self::ClientAuth => "1.3.6.1.5.5.7.3.2",
            Self::Purpose(text) => text,
            _ => return None,
        };
        Some(ObjectIdentifier::new_unwrap(text))
    }
}

/// What a certificate of the cluster's own is to say.
pub(super) struct Leaf<'a> {
    pub common_name: &'a str,
    pub organizations: &'a [&'a str],
    pub names: &'a [&'a str],
    pub addresses: &'a [IpAddr],
    pub usages: &'a [Use],
}

/// What a certificate says, whoever asked for it.
struct Content {
    subject: RdnSequence,
    key: SubjectPublicKeyInfoOwned,
    alternatives: Option<Extension>,
    usages: Vec<Use>,
}

/// A moment as rcgen takes it.
pub(super) fn moment(seconds: u64) -> Result<time::OffsetDateTime, PkiError> {
    time::OffsetDateTime::from_unix_timestamp(seconds as i64).map_err(error)
}

fn relative(kind: ObjectIdentifier, text: &str) -> Result<AttributeTypeAndValue, PkiError> {
    let value = Any::from(Utf8StringRef::new(text).map_err(error)?);
    Ok(AttributeTypeAndValue { oid: kind, value })
}

/// A name: all organizations in one set, then the common name, as Go writes it.
fn name(common_name: &str, organizations: &[&str]) -> Result<RdnSequence, PkiError> {
    let mut parts = Vec::new();
    let all: Result<Vec<_>, _> = organizations
        .iter()
        .map(|one| relative(ORGANIZATION, one))
        .collect();
    let all = all?;
    if !all.is_empty() {
        let set = SetOfVec::try_from(all).map_err(error)?;
        parts.push(RelativeDistinguishedName::from(set));
    }
    let own = SetOfVec::try_from(vec![relative(COMMON_NAME, common_name)?]).map_err(error)?;
    parts.push(RelativeDistinguishedName::from(own));
    Ok(RdnSequence::from(parts))
}

fn extension<T: AsExtension>(value: &T, critical: bool) -> Result<Extension, PkiError> {
    Ok(Extension {
        extn_id: T::OID,
        critical,
        extn_value: OctetString::new(value.to_der().map_err(error)?).map_err(error)?,
    })
}

/// Issues a certificate for a key of the cluster's own.
pub(super) fn issue(
    authority: &Credential,
    leaf: &Leaf<'_>,
    key: &KeyPair,
    validity: Validity,
) -> Result<String, PkiError> {
    let mut alternatives = Vec::new();
    for name in leaf.names {
        alternatives.push(GeneralName::DnsName(Ia5String::new(*name).map_err(error)?));
    }
    for address in leaf.addresses {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let bytes = OctetString::new(bytes).map_err(error)?;
        alternatives.push(GeneralName::IpAddress(bytes));
    }
    let alternatives = match alternatives.is_empty() {
        true => None,
        false => Some(extension(&SubjectAltName(alternatives), false)?),
    };
    let spki = key.subject_public_key_info();
    let content = Content {
        subject: name(leaf.common_name, leaf.organizations)?,
        key: SubjectPublicKeyInfoOwned::from_der(&spki).map_err(error)?,
        alternatives,
        usages: leaf.usages.to_vec(),
    };
    sign(authority, content, validity)
}

/// Issues what a PEM request asks for, for the uses named as in `spec.usages` and at most
/// `seconds`. The request must be signed by the key it names.
pub fn sign_request(
    authority: &Credential,
    request: &str,
    usages: &[String],
    seconds: Option<u64>,
    now: Time,
) -> Result<String, PkiError> {
    let pem = x509_parser::pem::Pem::iter_from_buffer(request.as_bytes())
        .next()
        .and_then(Result::ok)
        .filter(|pem| pem.label == "CERTIFICATE REQUEST")
        .ok_or_else(|| error("PEM block type must be CERTIFICATE REQUEST"))?;
    let (_, checked) = X509CertificationRequest::from_der(&pem.contents).map_err(error)?;
    checked.verify_signature().map_err(|why| {
        error(format!(
            "unable to verify certificate request signature: {why}"
        ))
    })?;
    let parsed = CertReq::from_der(&pem.contents).map_err(error)?;
    let usages: Option<Vec<Use>> = usages.iter().map(|name| Use::of(name)).collect();
    let life = seconds.map_or(LEAF_LIFE, Duration::from_secs);
    let mut life = life.clamp(LIFE_MIN, LEAF_LIFE);
    if life >= LIFE_SHORT {
        life -= BACKDATE;
    }
    let content = Content {
        alternatives: alternatives_of(&parsed)?,
        subject: parsed.info.subject,
        key: parsed.info.public_key,
        usages: usages.ok_or_else(|| error("unrecognized usage values"))?,
    };
    sign(authority, content, Validity::starting(now, life))
}

/// The alternative names a request asks for.
fn alternatives_of(request: &CertReq) -> Result<Option<Extension>, PkiError> {
    for attribute in request.info.attributes.iter() {
        if attribute.oid != EXTENSION_REQUEST {
            continue;
        }
        for value in attribute.values.iter() {
            let asked: ExtensionReq = value.decode_as().map_err(error)?;
            let found = asked
                .0
                .into_iter()
                .find(|one| one.extn_id == SUBJECT_ALT_NAME);
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// A certificate of `authority` for another authority: the same name, key and limits.
pub(super) fn vouch(authority: &Credential, other: &str) -> Result<String, PkiError> {
    let issuer = Certificate::from_pem(&authority.certificate).map_err(error)?;
    let end = Validity::of(&authority.certificate)?.to;
    let holds = Validity::of(other)?;
    let mut signed = Certificate::from_pem(other).map_err(error)?.tbs_certificate;
    signed.serial_number = serial()?;
    signed.issuer = issuer.tbs_certificate.subject.clone();
    signed.validity = Period {
        not_before: written(holds.from)?,
        not_after: written(holds.to.min(end))?,
    };
    let mut extensions = signed.extensions.take().unwrap_or_default();
    extensions.retain(|one| one.extn_id != AuthorityKeyIdentifier::OID);
    extensions.extend(reference(&issuer)?);
    signed.extensions = Some(extensions);
    signed.signature = algorithm();
    seal(authority, signed)
}

fn algorithm() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid: ECDSA_WITH_SHA256,
        parameters: None,
    }
}

fn sign(authority: &Credential, content: Content, validity: Validity) -> Result<String, PkiError> {
    let issuer = Certificate::from_pem(&authority.certificate).map_err(error)?;
    let end = Validity::of(&authority.certificate)?.to;
    let signed = TbsCertificate {
        version: Version::V3,
        serial_number: serial()?,
        signature: algorithm(),
        issuer: issuer.tbs_certificate.subject.clone(),
        // Nothing outlives who vouches for it.
        validity: Period {
            not_before: written(validity.from)?,
            not_after: written(validity.to.min(end))?,
        },
        extensions: Some(extensions(&issuer, &content)?),
        subject: content.subject,
        subject_public_key_info: content.key,
        issuer_unique_id: None,
        subject_unique_id: None,
    };
    seal(authority, signed)
}

/// The finished certificate, signed by the authority's key.
fn seal(authority: &Credential, signed: TbsCertificate) -> Result<String, PkiError> {
    let key = KeyPair::from_pem(&authority.key).map_err(error)?;
    let bytes = signed.to_der().map_err(error)?;
    let signature = key.sign(&bytes).map_err(error)?;
    let certificate = Certificate {
        signature_algorithm: signed.signature.clone(),
        tbs_certificate: signed,
        signature: BitString::from_bytes(&signature).map_err(error)?,
    };
    certificate.to_pem(LineEnding::LF).map_err(error)
}

/// A certificate's bytes as PEM.
pub(super) fn armoured(der: &[u8]) -> String {
    let text = x509_cert::der::pem::encode_string("CERTIFICATE", LineEnding::LF, der);
    text.expect("certificates are short")
}

/// A moment as a certificate writes it: short until 2049, long from then on (RFC 5280, 4.1.2.5).
fn written(seconds: u64) -> Result<CertificateTime, PkiError> {
    let since = Duration::from_secs(seconds);
    if let Ok(short) = UtcTime::from_unix_duration(since) {
        return Ok(CertificateTime::UtcTime(short));
    }
    let long = GeneralizedTime::from_unix_duration(since);
    long.map(CertificateTime::GeneralTime).map_err(error)
}

fn extensions(issuer: &Certificate, content: &Content) -> Result<Vec<Extension>, PkiError> {
    let mut all = Vec::new();
    let usages = content.usages.iter().filter_map(|one| one.key_usage());
    let usages = usages.fold(FlagSet::default(), |all, one| all | one);
    if !usages.is_empty() {
        all.push(extension(&KeyUsage(usages), true)?);
    }
    let purposes: Vec<_> = content
        .usages
        .iter()
        .filter_map(|one| one.purpose())
        .collect();
    if !purposes.is_empty() {
        all.push(extension(&ExtendedKeyUsage(purposes), false)?);
    }
    let leaf = BasicConstraints {
        ca: false,
        path_len_constraint: None,
    };
    all.push(extension(&leaf, true)?);
    all.extend(reference(issuer)?);
    all.extend(content.alternatives.clone());
    Ok(all)
}

/// Which key of its issuer signed a certificate.
fn reference(issuer: &Certificate) -> Result<Option<Extension>, PkiError> {
    let known = issuer.tbs_certificate.get::<SubjectKeyIdentifier>();
    let Some((_, identifier)) = known.map_err(error)? else {
        return Ok(None);
    };
    let reference = AuthorityKeyIdentifier {
        key_identifier: Some(identifier.0),
        ..AuthorityKeyIdentifier::default()
    };
    extension(&reference, false).map(Some)
}

/// A number nobody can foresee: part of a fresh key that is thrown away.
fn serial() -> Result<SerialNumber, PkiError> {
    let fresh = KeyPair::generate().map_err(error)?;
    let point = fresh.public_key_raw();
    let mut bytes = point[1..=SERIAL_BYTES].to_vec();
    // Positive, and of full length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::new(&bytes).map_err(error)
}

/// The backdating that requested lifetimes must exceed.
const _: () = assert!(LIFE_MIN.as_secs() > BACKDATE.as_secs());
