//! Signed tokens (RFC 7515, compact) and the public keys that verify them (RFC 7517). *ring* does the mathematics, as it does for TLS; a
//! crate for tokens would bring a second implementation of it along.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;

/// Longest token, bytes.
const LONGEST: usize = 16 << 10;

/// A token whose signature is not verified yet.
pub(super) struct Token<'a> {
    pub header: Header,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
pub(super) struct Header {
    alg: String,
    pub kid: Option<String>,
    /// What a reader has to understand beside; nothing of it is understood here.
    crit: Option<serde_json::Value>,
}

impl<'a> Token<'a> {
    pub fn read(text: &'a str) -> Result<Token<'a>, &'static str> {
        if text.len() > LONGEST {
            return Err("it is longer than any");
        }
        let (signed, signature) = text.rsplit_once('.').ok_or("it is no signed token")?;
        let (header, payload) = signed.split_once('.').ok_or("it is no signed token")?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "it is no signed token");
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| "its header cannot be read")?;
        if header.crit.is_some() {
            return Err("it asks for extensions");
        }
        Ok(Token { header, signed, payload: decode(payload)?, signature: decode(signature)? })
    }

    /// What it says, when one of the keys has signed it. Which algorithm holds is for the key to say: `none`, or a public key that is taken
    /// for a shared one (HS256), is no algorithm of any key.
    pub fn verified(&self, keys: &[Key]) -> Result<&[u8], String> {
        let alg = &self.header.alg;
        if !KNOWN.contains(&alg.as_str()) {
            return Err(format!("its algorithm {alg:?} proves nothing"));
        }
        let named = keys.iter().filter(|key| self.header.kid.is_none() || key.id == self.header.kid);
        match named.into_iter().any(|key| key.verifies(alg, self.signed.as_bytes(), &self.signature)) {
            true => Ok(&self.payload),
            false => Err("its signature is of none of the issuer's keys".to_string()),
        }
    }
}

const KNOWN: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// A public key.
#[derive(Clone)]
pub(super) struct Key {
    pub id: Option<String>,
    /// The one algorithm that it is for, where it says so.
    alg: Option<String>,
    public: Public,
}

#[derive(Clone)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// As the issuer writes it; fields of other kinds of keys may be missing.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    /// None: it is none for signatures, or of a kind that is not known; an issuer may have such keys for others.
    pub fn of(jwk: Jwk) -> Option<Key> {
        if jwk.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let part = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?.trim_end_matches('=')).ok();
        // an uncompressed point (SEC 1, 2.3.3)
        let point = |size: usize| {
            let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
            (x.len() == size && y.len() == size).then(|| [&[4][..], &x, &y].concat())
        };
        let number = |text: &Option<String>| Some(part(text)?.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>());
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Public::Rsa { n: number(&jwk.n)?, e: number(&jwk.e)? },
            ("EC", Some("P-256")) => Public::P256(point(32)?),
            ("EC", Some("P-384")) => Public::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(part(&jwk.x)?),
            _ => return None,
        };
        Some(Key { id: jwk.kid, alg: jwk.alg, public })
    }

    fn verifies(&self, alg: &str, signed: &[u8], signature: &[u8]) -> bool {
        if self.alg.as_deref().is_some_and(|own| own != alg) {
            return false;
        }
        let curve = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
        };
        match (&self.public, alg) {
            (Public::Rsa { n, e }, _) => rsa(alg).is_some_and(|how| RsaPublicKeyComponents { n, e }.verify(how, signed, signature).is_ok()),
            (Public::P256(point), "ES256") => curve(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Public::P384(point), "ES384") => curve(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Public::Ed25519(key), "EdDSA") => curve(&signature::ED25519, key),
            _ => false,
        }
    }
}

fn rsa(alg: &str) -> Option<&'static RsaParameters> {
    Some(match alg {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key(jwk: Value) -> Key {
        Key::of(serde_json::from_value(jwk).unwrap()).unwrap()
    }

    /// The example of RFC 7515, A.2.
    fn example() -> (Key, String) {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        (key(json!({"kty": "RSA", "n": n, "e": "AQAB"})), token.to_string())
    }

    fn verified(token: &str, key: &Key) -> Result<Vec<u8>, String> {
        Token::read(token)?.verified(std::slice::from_ref(key)).map(<[u8]>::to_vec)
    }

    fn encoded(header: Value) -> String {
        URL_SAFE_NO_PAD.encode(header.to_string())
    }

    #[test]
    fn the_example_of_the_standard_verifies() {
        let (key, token) = example();
        assert!(String::from_utf8(verified(&token, &key).unwrap()).unwrap().contains("\"joe\""));
        let other_alg = Key { alg: Some("RS512".into()), ..key.clone() };
        assert!(verified(&token, &other_alg).is_err(), "the key is for another algorithm");
        let (_, payload, signature) = (0, token.split('.').nth(1).unwrap(), token.split('.').nth(2).unwrap());
        for (token, why) in [
            (token.replace("eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJqb2Yi"), "signature"),
            (format!("{}.{payload}.{signature}", encoded(json!({"alg": "RS384"}))), "signature"),
            (format!("{}.{payload}.{signature}", encoded(json!({"alg": "HS256"}))), "proves nothing"),
            (format!("{}.{payload}.", encoded(json!({"alg": "none"}))), "proves nothing"),
            (format!("{}.{payload}.{signature}", encoded(json!({"alg": "RS256", "kid": "other"}))), "signature"),
            (format!("{}.{payload}.{signature}", encoded(json!({"alg": "RS256", "crit": ["b64"]}))), "extensions"),
            (format!("{}.{payload}.{signature}", encoded(json!({"kid": "x"}))), "header"),
            (format!("{payload}.{signature}"), "no signed token"),
            (format!("{token}="), "no signed token"),
            ("x".repeat(LONGEST + 1), "longer"),
            (String::new(), "no signed token"),
        ] {
            let refused = verified(&token, &key).unwrap_err();
            assert!(refused.contains(why), "{token}: {refused}");
        }
    }

    #[test]
    fn keys_of_other_kinds_are_left_out() {
        for jwk in [
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}),
            json!({"kty": "RSA", "e": "AQAB"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}),
            json!({"kty": "EC", "crv": "secp256k1", "x": "AQAB", "y": "AQAB"}),
        ] {
            assert!(Key::of(serde_json::from_value(jwk.clone()).unwrap()).is_none(), "{jwk}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-z0-9_.-]{0,80}", bytes in ".{0,80}") {
            let (key, _) = example();
            proptest::prop_assert!(verified(&text, &key).is_err() && verified(&bytes, &key).is_err());
        }
    }
}
