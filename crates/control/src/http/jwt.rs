//! The JSON Web Token of a signed webhook (FACTS F2.4, RFC 7519): claims, and one of two signatures.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest, hmac,
    rand::{SecureRandom as _, SystemRandom},
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde::Serialize;
use trunkline_proxy::question::{Jwt, JwtKey};

use super::hex;

#[derive(Serialize)]
struct Claims<'c> {
    iat: u64,
    jti: String,
    iss: &'c str,
    payload_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_id: Option<&'c str>,
}

/// The token for a request with this body. The error is for a person.
pub(super) fn bearer(jwt: &Jwt, body: &[u8]) -> Result<String, String> {
    let random = SystemRandom::new();
    let mut unique = [0; 16];
    random
        .fill(&mut unique)
        .map_err(|_| "the system gives no random numbers")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let claims = Claims {
        iat: now.map_or(0, |now| now.as_secs()),
        jti: URL_SAFE_NO_PAD.encode(unique),
        iss: &jwt.issuer,
        payload_hash: hex(&digest::digest(&digest::SHA256, body)),
        api_key: jwt.api_key.as_deref(),
        application_id: jwt.application_id.as_deref(),
    };
    let claims = serde_json::to_vec(&claims).map_err(|error| error.to_string())?;
    let header: &[u8] = match jwt.key {
        JwtKey::Hs256(_) => br#"{"alg":"HS256","typ":"JWT"}"#,
        JwtKey::Rs256(_) => br#"{"alg":"RS256","typ":"JWT"}"#,
    };
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = match &jwt.key {
        JwtKey::Hs256(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
            hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
        }
        JwtKey::Rs256(der) => {
            let key = RsaKeyPair::from_pkcs8(&der.0)
                .map_err(|error| format!("jwt_key_file holds no usable RSA key: {error}"))?;
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(
                &RSA_PKCS1_SHA256,
                &random,
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| "the RSA key does not sign")?;
            signature
        }
    };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use trunkline_proxy::question::Secret;

    use super::*;

    #[test]
    fn a_token_says_what_vonage_says_and_its_signature_holds() {
        let jwt = Jwt {
            key: JwtKey::Hs256(Secret(b"secret".as_slice().into())),
            issuer: "Vonage".into(),
            api_key: Some("abcd".into()),
            application_id: None,
        };
        let token = bearer(&jwt, b"{}").unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            panic!("{token}")
        };
        let text = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(text(header), r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims_text = text(claims);
        let claims: serde_json::Value = serde_json::from_str(&claims_text).unwrap();
        assert_eq!(claims["iss"], "Vonage");
        assert_eq!(claims["api_key"], "abcd");
        // sha256sum of "{}".
        assert_eq!(
            claims["payload_hash"],
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert!(
            claims["iat"]
                .as_u64()
                .is_some_and(|iat| iat > 1_700_000_000)
        );
        assert!(claims.get("application_id").is_none());
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signed = token.rsplit_once('.').unwrap().0;
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok());
        assert_ne!(bearer(&jwt, b"{}").unwrap(), token, "each has its own jti");
    }

    #[test]
    fn a_key_that_is_none_is_said() {
        let jwt = Jwt {
            key: JwtKey::Rs256(Secret(b"no key".as_slice().into())),
            issuer: "x".into(),
            api_key: None,
            application_id: None,
        };
        let why = bearer(&jwt, b"").unwrap_err();
        assert!(why.contains("jwt_key_file"), "{why}");
    }
}
