//! The chat: where it is, who may post there, and whose inbox waits for it. All of it comes from the environment, since
//! the address of such a webhook is a secret as well.

use shepherd_domain::ids::UserId;
use zeroize::Zeroizing;

const URL: &str = "CHAT_WEBHOOK_URL";
const TOKEN: &str = "CHAT_WEBHOOK_TOKEN";
const ACCOUNT: &str = "CHAT_USER_ID";

/// A chat that takes messages by HTTP.
pub(crate) struct Chat {
    /// Where messages are posted. The allow-list of the product holds for it.
    pub(crate) url: Zeroizing<String>,
    /// Sent as a bearer token, when there is one.
    pub(crate) token: Option<Zeroizing<String>>,
    /// The account in whose inbox messages wait until the chat has them.
    pub(crate) account: UserId,
}

/// What is wrong with the environment.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Misconfigured {
    #[error("{0} is missing; a chat needs CHAT_WEBHOOK_URL and CHAT_USER_ID")]
    Missing(&'static str),
    #[error("CHAT_USER_ID is no id of a user")]
    Account,
}

impl Chat {
    /// The chat of these variables; `None` when there is none.
    pub(crate) fn configured(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Misconfigured> {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let (url, account) = match (given(URL), given(ACCOUNT)) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(Misconfigured::Missing(URL)),
            (Some(_), None) => return Err(Misconfigured::Missing(ACCOUNT)),
            (Some(url), Some(account)) => (url, account),
        };
        Ok(Some(Self {
            url: Zeroizing::new(url),
            token: given(TOKEN).map(Zeroizing::new),
            account: account.parse().map_err(|_| Misconfigured::Account)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEBODY: &str = "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10";

    fn configured(variables: &[(&str, &str)]) -> Result<Option<Chat>, Misconfigured> {
        Chat::configured(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_chat_is_no_mistake() {
        assert!(configured(&[]).unwrap().is_none());
        assert!(configured(&[(URL, ""), (ACCOUNT, "")]).unwrap().is_none());
    }

    #[test]
    fn half_a_chat_is_one() {
        let refused = |variables: &[(&str, &str)]| configured(variables).err();
        assert_eq!(refused(&[(URL, "https://c")]), Some(Misconfigured::Missing(ACCOUNT)));
        assert_eq!(refused(&[(ACCOUNT, SOMEBODY)]), Some(Misconfigured::Missing(URL)));
        let chat = [(URL, "https://c"), (ACCOUNT, "dora")];
        assert_eq!(refused(&chat), Some(Misconfigured::Account));
    }

    #[test]
    fn a_token_is_optional() {
        let chat = configured(&[(URL, "https://c"), (ACCOUNT, SOMEBODY)]).unwrap().unwrap();
        assert_eq!(chat.account.to_string(), SOMEBODY);
        assert!(chat.token.is_none());
    }
}
