//! Values that are secrets, or that nobody may use.

use super::*;

#[test]
fn empty_provider_keys_are_refused() {
    for line in [
        "provider_key_uri: \"\"",
        "provider_key_uri: \" \"",
        "provider_key_file: \"\"",
    ] {
        let found = assay_errors(line);
        assert!(found.len() == 1 && found[0].contains("is empty"), "{found:?}");
    }
}

#[test]
fn secrets_in_wrong_places_are_not_repeated() {
    let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
    for key in [
        "chain_url",
        "listen_address",
        "endpoint",
        "owner_endpoint",
        "ask",
        "region",
        "hardware_class",
        "engine",
        "prover",
        "provider_account",
    ] {
        for secret in [
            phrase,
            "http//me:bottom@node.example///drive",
            "ftp://me:bottom@node.example",
        ] {
            let text = match parse(&with_assay(&format!("{key}: \"{secret}\""))) {
                Err(error) => error.to_string(),
                // Some of these texts are names of classes.
                Ok(_) => continue,
            };
            assert!(!text.contains("bottom") && !text.contains("drive"), "{text}");
        }
    }
    let error = Config::load(Path::new(phrase)).unwrap_err().to_string();
    assert!(!error.contains("bottom"), "{error}");
}

#[test]
fn reward_address_that_nobody_has_the_key_of_is_refused() {
    let address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    for zeros in [
        format!("0x{}", "0".repeat(40)),
        "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM".to_owned(),
    ] {
        let found = errors(address, &zeros);
        assert!(
            found.len() == 1 && found[0].ends_with("nobody has that of zeros"),
            "{found:?}"
        );
    }
}
