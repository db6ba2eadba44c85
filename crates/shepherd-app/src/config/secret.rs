//! Values of the configuration that nobody may see.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";

/// A secret. It has no `Display`, and `Debug` does not show it; a serialiser does, because configurations are compared
/// and put together in that form.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, in memory that is wiped.
    pub fn to_text(&self) -> Zeroizing<String> {
        self.0.clone()
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, Utc};
    use shepherd_usecases::auth::login::LoggedIn;
    use zeroize::Zeroizing;

    use crate::config::load;

    #[test]
    fn no_secret_of_the_configuration_is_shown() {
        let url = "postgres://shepherd:planted-password@localhost/shepherd";
        let mut environment = BTreeMap::from([
            ("DATABASE_PASSWORD", "planted-password"),
            ("DATABASE_URL", url),
            ("ENCRYPTION_KEY", "planted-encryption-key"),
            ("SECURITY_JWT_VERIFICATION_KEYS", "planted-first-key,planted-second-key"),
            ("SESSION_SECRET", "planted-session-secret-of-some-length"),
        ]);
        let loaded = load(None, |name| environment.get(name).map(|text| (*text).to_owned())).unwrap();
        assert_eq!(loaded.config.database.connection_url().unwrap(), url);
        assert_eq!(loaded.config.security.jwt_verification_keys.len(), 2);
        for shown in [format!("{loaded:?}"), format!("{:#?}", loaded.config)] {
            assert!(shown.contains(super::HIDDEN) && !shown.contains("planted"), "{shown}");
        }

        environment.insert("SESSION_SECRET", "planted");
        let error = load(None, |name| environment.get(name).map(|text| (*text).to_owned())).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
    }

    #[test]
    fn what_commands_carry_is_not_shown() {
        let secret = Zeroizing::new("planted".to_owned());
        let logged_in = LoggedIn {
            token: secret.clone(),
            expires_at: DateTime::<Utc>::MIN_UTC,
            force_password_change: false,
        };
        let shown = format!("{secret:?} {:?} {logged_in:?}", Some([&secret]));
        assert!(!shown.contains("planted"), "{shown}");
    }
}
