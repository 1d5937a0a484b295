//! Real evidence from published packages, put into the target folder by `scripts/evidence-samples`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Files with their required SHA-256.
const SHA256: &[(&str, &str)] = &[
    (
        "sgx_quote",
        "f8b81014b6e443609746822194910f5dc1c92c322fa0584298d1e33e505ca3b5",
    ),
    (
        "sgx_quote_collateral.json",
        "bdd694bbe50f3a2a1cfe12f9e2bd83125921107a368edcf10780a5523b8501ce",
    ),
    (
        "tdx_quote",
        "c42f9164325024bca2757bc8819b11879a0a369132ea4e2b7c85df4805ea72db",
    ),
    (
        "tdx_quote_collateral.json",
        "b0a5f5fd620a8881b1eda45261fdf30dd930b49aff93231556645c81fcb4c0bc",
    ),
    (
        "tdx_quote_outdated",
        "4c453ea417a7863ed67c215fe4735d91e26f359c760e5984a277866d8d5758e9",
    ),
    (
        "tdx_quote_outdated_collateral.json",
        "05e91466e56352166c15a73654147c3d95d6f4ffa62bd150c3c8cbb1d75c3b15",
    ),
    (
        "tdx_quote_td15ex",
        "fd88575b046315787daac21cb3657d03d95d74760a9c5006ad689fa5c2c498f7",
    ),
    (
        "tdx_quote_td15ex_collateral.json",
        "29e1cb0c2dc98c2cc7f241cc142bdf9d61dee288276d33ae45d5fb2b6b5cc0b0",
    ),
    (
        "intel_root.der",
        "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
    ),
    (
        "report_milan.hex",
        "3d956e9104969a038031a6b63dd6c4b60000619d37702065994f7da76f88ae7d",
    ),
    (
        "vcek_milan.der",
        "3bbfb6ee259f75a95d13168cfdf2e034181bb93c7c016825731cbe8ea16c95e1",
    ),
    (
        "cert_chain_milan.pem",
        "22e62f8d2c21a156470145fc75f7b5a377cb053ced3e97f0bd3f8d8ca5941ce6",
    ),
    (
        "vcek_turin.der",
        "a4a6abff1c435f214cfbc35e4dadae55e467454d53dc417251b3ff1a169fd7fb",
    ),
    (
        "cert_chain_turin.pem",
        "cc9a52fbed3fbc6e4a0a50149a541a75938f975658909c2a6084767829b36e85",
    ),
    (
        "ark_genoa.pem",
        "96bff94e97e2b7ddf4bf3b9b7f780f94a46b8c51f52abfdcc283be7df36ce405",
    ),
    (
        "ask_genoa.pem",
        "22fea250e0390b22008c9a415f4bd915ae8cef4a240f9d21702e84eb250b9186",
    ),
    (
        "hopper_report.hex",
        "e84e0073010b540efa21e1ac3ce052746df57d8bb1d375be7c14f5db43807fcd",
    ),
    (
        "hopper_chain.pem",
        "6a374ded27aaf208e76a211b539c4611f2d9a5774057703f21576c06d8bdf042",
    ),
    (
        "nvidia_root.pem",
        "6e6e91e84068cb7de2c715ca73d6df168a16b23d96a895b42e553b297a471bfc",
    ),
    (
        "rim_1010_0200_882_96005E0001.xml",
        "7e8ea28e7961a9ef83b87ca5c5685312014eae871977b720ae08553aa917bc50",
    ),
];

/// Returns the bytes of a sample.
///
/// Panics if the file is missing or has another hash: a test without evidence proves nothing.
pub(crate) fn sample(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    let bytes = fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{} cannot be read ({error}): run ./scripts/evidence-samples, which fetches it",
            path.display()
        )
    });
    let expected = SHA256.iter().find(|(known, _)| *known == name);
    let (_, expected) = expected.unwrap_or_else(|| panic!("{name} is no sample"));
    let actual = hex::encode(Sha256::digest(&bytes));
    assert_eq!(
        &actual,
        expected,
        "{} is another file than it should be",
        path.display()
    );
    bytes
}

/// Returns the text of a sample.
pub(crate) fn text_sample(name: &str) -> String {
    String::from_utf8(sample(name)).expect("the sample is text")
}

/// Returns the bytes that a sample spells in hexadecimal digits.
pub(crate) fn hex_sample(name: &str) -> Vec<u8> {
    hex::decode(text_sample(name).trim()).expect("the sample is hexadecimal")
}

/// Returns `ASSAY_EVIDENCE_SAMPLES`, or the samples' folder in the target folder that this program lies in.
fn folder() -> PathBuf {
    const NAME: &str = "evidence-samples";
    if let Some(folder) = std::env::var_os("ASSAY_EVIDENCE_SAMPLES") {
        return folder.into();
    }
    let program = std::env::current_exe().expect("a program has a path");
    let found = program
        .ancestors()
        .map(|folder| folder.join(NAME))
        .find(|folder| folder.is_dir());
    found.unwrap_or_else(|| {
        panic!(
            "there is no folder {NAME} above {}: run ./scripts/evidence-samples, which makes it",
            Path::new(&program).display()
        )
    })
}
