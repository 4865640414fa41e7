//! A stand-in for a CI that signs identity tokens (OpenID Connect): keys made here, and faults that no real one shows at will.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use serde_json::{Value, json};

use super::http::{Answer, serve};

#[derive(Clone, PartialEq)]
pub enum Fault {
    Away,
    /// More bytes than any set of keys has.
    Huge,
    /// Its keys are said to be at another host.
    KeysElsewhere,
    /// It sends whoever asks for the keys to another host, which has them.
    Redirects,
    /// It calls itself otherwise.
    OtherName,
}

pub struct Issuer {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Vec<(String, Key)>,
    fault: Option<Fault>,
    asked: usize,
}

enum Key {
    Rsa(KeyPair),
    Ec(EcdsaKeyPair),
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn rsa() -> Key {
        let made = Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", "RSA", "-outform", "DER"]).output().unwrap();
        Key::Rsa(KeyPair::from_der(&made.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&made.stderr))))
    }

    fn ec() -> Key {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Key::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random).unwrap())
    }

    fn jwk(&self, kid: &str) -> Value {
        match self {
            Key::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": base64(public.n), "e": base64(public.e)})
            }
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
        }
    }

    fn alg(&self) -> &'static str {
        match self {
            Key::Rsa(_) => "RS256",
            Key::Ec(_) => "ES256",
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
            Key::Ec(pair) => pair.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
        }
    }
}

impl Issuer {
    /// With one RSA key, `k1`.
    pub fn start() -> Issuer {
        let state = Arc::new(Mutex::new(State { keys: vec![("k1".to_string(), Key::rsa())], fault: None, asked: 0 }));
        let shared = state.clone();
        // whoever is sent there gets the keys
        let also = state.clone();
        let elsewhere = serve(move |_| Answer::json(200, &keys_of(&also.lock().unwrap())));
        let port = serve(move |request| {
            let mut state = shared.lock().unwrap();
            state.asked += 1;
            answer(&state, &request.path, request.header("host").unwrap_or_default(), elsewhere)
        });
        Issuer { port, state }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests so far.
    pub fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    pub fn fault(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Another key in place of those that it has; it is an elliptic one.
    pub fn rotate(&self, kid: &str) {
        self.state.lock().unwrap().keys = vec![(kid.to_string(), Key::ec())];
    }

    /// What GitLab says of a job of ada's on the protected branch main of `project`.
    pub fn claims(&self, project: &str, changes: Value) -> Value {
        let now = Timestamp::now().as_second();
        let mut claims = json!({"iss": self.address(), "aud": "shipway", "sub": format!("project_path:{project}:ref_type:branch:ref:main"),
            "iat": now, "nbf": now - 5, "exp": now + 3600, "jti": "x", "project_path": project, "user_login": "ada", "user_email": "ada@x.test",
            "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "pipeline_source": "push"});
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    }

    /// A token by its first key.
    pub fn token(&self, claims: &Value) -> String {
        let state = self.state.lock().unwrap();
        let (kid, key) = &state.keys[0];
        let signed = signed(&json!({"alg": key.alg(), "kid": kid, "typ": "JWT"}), claims);
        format!("{signed}.{}", base64(key.sign(&signed)))
    }

    /// A token with its key's name that anybody can make.
    pub fn unsigned(&self, claims: &Value) -> String {
        format!("{}.", signed(&json!({"alg": "none", "kid": "k1"}), claims))
    }

    /// A token whose shared secret is the public key, in each form that libraries were once fooled with.
    pub fn with_the_public_key(&self, claims: &Value) -> Vec<String> {
        let jwk = {
            let state = self.state.lock().unwrap();
            state.keys[0].1.jwk("k1")
        };
        let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        [jwk.to_string().into_bytes(), n, jwk["n"].as_str().unwrap().as_bytes().to_vec()]
            .iter()
            .map(|secret| {
                let signed = signed(&json!({"alg": "HS256", "kid": "k1"}), claims);
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
                format!("{signed}.{}", base64(tag))
            })
            .collect()
    }

    /// A token by another's key that says it is `k1`.
    pub fn forged(&self, claims: &Value) -> String {
        let key = Key::rsa();
        let signed = signed(&json!({"alg": "RS256", "kid": "k1"}), claims);
        format!("{signed}.{}", base64(key.sign(&signed)))
    }
}

fn signed(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string()), base64(claims.to_string()))
}

fn keys_of(state: &State) -> Value {
    json!({"keys": state.keys.iter().map(|(kid, key)| key.jwk(kid)).collect::<Vec<_>>()})
}

fn answer(state: &State, path: &str, host: &str, elsewhere: u16) -> Answer {
    let own = format!("http://{host}");
    match (path, &state.fault) {
        (_, Some(Fault::Away)) => Answer { status: 503, ..Answer::default() },
        ("/.well-known/openid-configuration", fault) => {
            let keys =
                if *fault == Some(Fault::KeysElsewhere) { format!("http://127.0.0.1:{elsewhere}/keys") } else { format!("{own}/keys") };
            let name = if *fault == Some(Fault::OtherName) { "https://other.test" } else { &own };
            Answer::json(200, &json!({"issuer": name, "jwks_uri": keys, "response_types_supported": ["none"]}))
        }
        ("/keys", Some(Fault::Redirects)) => {
            Answer { status: 302, ..Answer::default() }.header("location", &format!("http://127.0.0.1:{elsewhere}/keys"))
        }
        ("/keys", Some(Fault::Huge)) => Answer::json(200, &json!({"keys": [], "more": "x".repeat(2 << 20)})),
        ("/keys", _) => Answer::json(200, &keys_of(state)),
        _ => Answer { status: 404, ..Answer::default() },
    }
}
