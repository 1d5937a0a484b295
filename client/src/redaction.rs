//! Texts of users as messages may repeat them: without secrets and credentials.
//!
//! People type a phrase where a path belongs, and paste URLs that hold a password. Messages go to terminals,
//! logs and bug reports, so what looks like a secret is replaced before it gets into one.

use std::borrow::Cow;

/// Stands in a message for a text that may be a secret.
pub const HIDDEN: &str = "(not shown: it may be a secret)";

/// Number of words from which on a text counts as a phrase: phrases have 12 or more, but people lose some.
const PHRASE_WORDS: usize = 5;

/// Number of hexadecimal digits from which on a text counts as a seed: seeds have 64, but people lose some,
/// and Ethereum-style addresses have 40.
const SEED_DIGITS: usize = 48;

/// Longest segment of a URL's path that is shown; providers of nodes put access keys into paths.
const SHOWN_SEGMENT_BYTES: usize = 15;

/// Returns true for a text that looks like a phrase, a seed, or a secret URI with a password.
///
/// Wrong in both directions for unusual texts: public keys in hex look like seeds, too. Use it for messages
/// only.
pub fn may_be_secret(text: &str) -> bool {
    let is_seed = |part: &str| {
        let digits = part.strip_prefix("0x").unwrap_or(part);
        digits.len() >= SEED_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    // After `///` comes the password of a secret URI; `file:///path` has it too.
    let has_password = text
        .split_once("///")
        .is_some_and(|(before, _)| !before.ends_with(':'));
    has_password
        || text.split_whitespace().count() >= PHRASE_WORDS
        || text.split(['/', ' ', '"', '\'']).any(is_seed)
}

/// Returns a text for a message: a URL without credentials, [`HIDDEN`] for what may be a secret, and
/// everything else as it is.
pub fn shown(text: &str) -> Cow<'_, str> {
    if has_scheme(text) {
        Cow::Owned(shown_url(text))
    } else if may_be_secret(text) {
        Cow::Borrowed(HIDDEN)
    } else {
        Cow::Borrowed(text)
    }
}

/// Returns true for a text that begins like a URL with a host.
fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// Returns a URL for a message: without user name, password, query and fragment, and without long segments of
/// its path. A text without a scheme is handled like any other, see [`shown`].
pub fn shown_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://").filter(|_| has_scheme(url)) else {
        return shown(url).into_owned();
    };
    // A password may hold characters that nobody escaped: the last `@` of all ends the credentials.
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", rest),
    };
    let (rest, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = if may_be_secret(host) { HIDDEN } else { host };
    let path: Vec<_> = path
        .split('/')
        .map(|segment| {
            if segment.len() > SHOWN_SEGMENT_BYTES {
                "…"
            } else {
                segment
            }
        })
        .collect();
    let query = if query.len() > 1 { "?…" } else { "" };
    format!("{scheme}://{credentials}{host}{}{query}", path.join("/"))
}

/// Returns a URL for a message: without user name, password, query and fragment, but with its whole path.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return shown(url).into_owned();
    };
    let (rest, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match host.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => host.to_owned(),
    };
    let query = if query.len() > 1 { "?…" } else { "" };
    format!("{scheme}://{host}{path}{query}")
}

/// Replaces every occurrence of `secret` in a message, if there is anything to hide in it.
pub fn without(message: &str, secret: &str) -> String {
    let replacement = shown(secret);
    if secret.is_empty() || replacement == secret {
        return message.to_owned();
    }
    let mut message = message.replace(secret, &replacement);
    // A part of the URL may be quoted alone, such as its authority.
    if let Some((_, rest)) = secret.split_once("://")
        && let Some((credentials, _)) = rest.rsplit_once('@')
        && !credentials.is_empty()
    {
        message = message.replace(credentials, "…");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";

    #[test]
    fn secrets_are_hidden_and_other_texts_are_not() {
        let seed = "1f".repeat(32);
        for secret in [
            PHRASE.to_owned(),
            format!("{PHRASE}//Alice"),
            format!("folder/{PHRASE}"),
            "bottom drive obey lake curtain".to_owned(),
            seed.clone(),
            format!("0x{seed}"),
            format!("0x{seed}//hard"),
            format!("/etc/0x{}", &seed[..63]),
            "//Alice///swordfish".to_owned(),
        ] {
            assert_eq!(shown(&secret), HIDDEN, "{secret}");
        }
        for text in [
            "",
            "//Alice",
            "/home/somebody/my keys/consumer.key",
            "worker.yaml",
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
            "0x1234",
            "busybox@sha256:ab",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn urls_are_shown_without_credentials() {
        for (url, expected) in [
            ("ws://127.0.0.1:9944", "ws://127.0.0.1:9944"),
            ("wss://node.example/rpc", "wss://node.example/rpc"),
            ("wss://me:swordfish@node.example", "wss://…@node.example"),
            ("wss://me:sword/f@sh@node.example/", "wss://…@node.example/"),
            ("wss://me:sword?fi#sh@node.example", "wss://…@node.example"),
            ("wss://node.example/?key=swordfish", "wss://node.example/?…"),
            ("wss://node.example#swordfish", "wss://node.example?…"),
            ("http://me@node.example:80/a", "http://…@node.example:80/a"),
            (
                "wss://node.example/v1/0123456789abcdefswordfish",
                "wss://node.example/v1/…",
            ),
            ("no url", "no url"),
            (PHRASE, HIDDEN),
        ] {
            assert_eq!(shown_url(url), expected, "{url}");
        }
    }

    #[test]
    fn signed_urls_keep_their_path_alone() {
        for (url, expected) in [
            (
                "https://cdn.example/blobs/sha256/0123456789abcdef?X-Signature=swordfish",
                "https://cdn.example/blobs/sha256/0123456789abcdef?…",
            ),
            ("http://me:swordfish@cdn.example/a@b", "http://…@cdn.example/a@b"),
            ("https://cdn.example", "https://cdn.example"),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }

    #[test]
    fn messages_lose_what_is_hidden_wherever_it_stands() {
        let url = "wss://me:swordfish@node.example";
        let message = format!("cannot reach {url}: bad authority me:swordfish@node.example");
        let cleaned = without(&message, url);
        assert!(!cleaned.contains("swordfish"), "{cleaned}");
        assert!(cleaned.contains("node.example"), "{cleaned}");
        assert_eq!(without("no route to host", "ws://a"), "no route to host");
        assert_eq!(without("nothing", ""), "nothing");
    }
}
