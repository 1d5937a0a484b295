//! Requirements on chains and lists that hold for every vendor.

use assay_evidence::{EvidenceError, MAX_REVOKED, Part, RevocationList, Serial, TrustRoot, issuers_of_chain};

use super::{
    intel::binding,
    support::{
        der::{
            CertificateDraft, ListDraft, NOW_S, basic_constraints, extension, integer, issuer_usage,
            sequence, signer_usage, tlv,
        },
        intel::{Intel, Kind},
        keys::TestKey,
    },
};

fn intel() -> Intel {
    Intel::new(Kind::Sgx(3), binding().report_data())
}

fn pck_error(change: impl FnOnce(&mut Intel)) -> Option<EvidenceError> {
    let mut intel = intel();
    let lists = intel.lists().expect("they are verified");
    change(&mut intel);
    let chain = intel.pck_chain();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    assay_evidence::intel::verify_pck_chain(&chain, &intel.roots(), &lists, NOW_S).err()
}

#[test]
fn issuers_must_be_authorities() {
    assert_eq!(pck_error(|_| {}), None);
    // Without the mark of an authority, and without the key usage.
    let not_an_issuer = Some(EvidenceError::NotAnIssuer);
    assert_eq!(
        pck_error(|intel| intel.authority.extensions = vec![signer_usage()]),
        not_an_issuer
    );
    assert_eq!(
        pck_error(|intel| intel.authority.extensions = vec![basic_constraints(None), signer_usage()]),
        not_an_issuer
    );
    // The mark is there and says no.
    let no = extension("2.5.29.19", true, &sequence(&[]));
    assert_eq!(
        pck_error(|intel| intel.authority.extensions = vec![no, issuer_usage()]),
        not_an_issuer
    );
    // The root allows no authority below another one.
    assert_eq!(
        pck_error(|intel| intel.root.extensions = vec![basic_constraints(Some(0)), issuer_usage()]),
        not_an_issuer
    );
    assert_eq!(
        pck_error(|intel| intel.root.extensions = vec![basic_constraints(Some(1)), issuer_usage()]),
        None
    );
}

#[test]
fn an_authority_signs_no_evidence() {
    let error = pck_error(|intel| intel.pck.extensions = vec![basic_constraints(None), issuer_usage()]);
    assert_eq!(error, Some(EvidenceError::IssuerAsSigner));
}

#[test]
fn names_must_lead_from_one_certificate_to_the_next() {
    let error = pck_error(|intel| intel.pck.issuer = "Test SGX PCK Processor CA".into());
    assert_eq!(error, Some(EvidenceError::BrokenChain));
    // The topmost certificate leads to no root.
    let error = pck_error(|intel| intel.authority.issuer = "Test Another Root CA".into());
    assert_eq!(error, Some(EvidenceError::UntrustedRoot));
}

#[test]
fn signatures_must_be_by_the_next_certificates_key() {
    let intel = intel();
    let lists = intel.lists().expect("they are verified");
    let mut chain = intel.pck_chain();
    chain[0] = {
        let mut other = intel.clone();
        other.authority_key = TestKey::p256("another");
        other.pck_chain().remove(0)
    };
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    assert_eq!(
        assay_evidence::intel::verify_pck_chain(&chain, &intel.roots(), &lists, NOW_S),
        Err(EvidenceError::BadSignature(Part::Certificate))
    );
}

#[test]
fn other_kinds_of_keys_are_refused() {
    // A chain on P-384, which Intel does not use, and a device key on P-384 in a chain on P-256.
    let mut other = intel();
    other.root_key = TestKey::p384("root");
    other.authority_key = TestKey::p384("authority");
    let refused = Err(EvidenceError::UnsupportedAlgorithm(Part::Certificate));
    assert_eq!(other.verify_pck(&other.roots(), NOW_S), refused);
    let mut other = intel();
    other.pck_key = TestKey::p384("pck");
    assert_eq!(other.verify_pck(&other.roots(), NOW_S), refused);
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let unknown = |critical| extension("1.2.3.4", critical, &integer(&[1]));
    let error = pck_error(|intel| intel.pck.extensions.push(unknown(true)));
    assert_eq!(
        error,
        Some(EvidenceError::UnknownCriticalExtension(Part::Certificate))
    );
    let error = pck_error(|intel| intel.authority.extensions.push(unknown(true)));
    assert_eq!(
        error,
        Some(EvidenceError::UnknownCriticalExtension(Part::Certificate))
    );
    assert_eq!(pck_error(|intel| intel.pck.extensions.push(unknown(false))), None);
    // The same extension twice.
    let error = pck_error(|intel| intel.pck.extensions.extend([unknown(false), unknown(false)]));
    assert_eq!(error, Some(EvidenceError::Malformed(Part::Certificate)));
    let error = pck_error(|intel| {
        let many = (0..40).map(|number| extension(&format!("1.2.3.{number}"), false, &[]));
        intel.pck.extensions.extend(many);
    });
    assert_eq!(error, Some(EvidenceError::TooLong(Part::Certificate)));
}

#[test]
fn certificates_without_intels_extension_are_refused() {
    let intel = intel();
    let lists = intel.lists().expect("they are verified");
    let bare = intel.pck.sign(&intel.pck_key, &intel.authority_key);
    let chain = intel.pck_chain();
    assert_eq!(
        assay_evidence::intel::verify_pck_chain(&[&bare, &chain[1]], &intel.roots(), &lists, NOW_S),
        Err(EvidenceError::NotAVendorCertificate)
    );
}

#[test]
fn chains_of_another_length_are_refused() {
    let intel = intel();
    let lists = intel.lists().expect("they are verified");
    let chain = intel.pck_chain();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let verify = |chain: &[&[u8]]| {
        assay_evidence::intel::verify_pck_chain(chain, &intel.roots(), &lists, NOW_S).map(|_| ())
    };
    assert_eq!(verify(&chain), Ok(()));
    assert_eq!(verify(&chain[..2]), Ok(()));
    for chain in [&chain[..1], &chain[1..], &chain[2..], &[]] {
        assert_eq!(verify(chain), Err(EvidenceError::WrongChainLength));
    }
    assert_eq!(
        verify(&[chain[0], chain[1], chain[1], chain[2]]),
        Err(EvidenceError::WrongChainLength)
    );
}

#[test]
fn a_root_must_be_an_authority_that_signed_itself() {
    let key = TestKey::p256("root");
    let root = CertificateDraft::authority("A", "A");
    assert!(TrustRoot::new(&root.sign(&key, &key)).is_ok());
    let other = root.sign(&key, &TestKey::p256("another"));
    assert_eq!(
        TrustRoot::new(&other),
        Err(EvidenceError::BadSignature(Part::Certificate))
    );
    let issued = CertificateDraft::authority("A", "B").sign(&key, &key);
    assert_eq!(TrustRoot::new(&issued), Err(EvidenceError::UntrustedRoot));
    let signer = CertificateDraft::signer("A", "A").sign(&key, &key);
    assert_eq!(TrustRoot::new(&signer), Err(EvidenceError::NotAnIssuer));
}

#[test]
fn lists_must_be_by_an_authority_that_may_sign_them() {
    let intel = intel();
    let roots = intel.roots().intel;
    let list = intel.authority_list.sign(&intel.authority_key);
    let authority = intel.authority.sign(&intel.authority_key, &intel.root_key);
    let verify = |list: &[u8], issuer: Option<&[u8]>| {
        RevocationList::verify(list, issuer, &roots, &[], NOW_S).map(|_| ())
    };
    assert_eq!(verify(&list, Some(&authority)), Ok(()));
    // No root issued this list, and no other authority did.
    assert_eq!(verify(&list, None), Err(EvidenceError::UntrustedRoot));
    let other = CertificateDraft::authority("Another", "Test SGX Root CA");
    let other = other.sign(&TestKey::p256("another"), &intel.root_key);
    assert_eq!(verify(&list, Some(&other)), Err(EvidenceError::BrokenChain));
    // The right name with another key.
    let namesake = intel.authority.sign(&TestKey::p256("another"), &intel.root_key);
    let bad = Err(EvidenceError::BadSignature(Part::RevocationList));
    assert_eq!(verify(&list, Some(&namesake)), bad);
    // An authority that no root has issued.
    let foreign = intel
        .authority
        .sign(&intel.authority_key, &TestKey::p256("another root"));
    assert_eq!(verify(&list, Some(&foreign)), Err(EvidenceError::UntrustedRoot));
    // An authority that may sign certificates only.
    let mut bounded = intel.authority.clone();
    let certificates_only = extension("2.5.29.15", true, &tlv(3, &[2, 0x04]));
    bounded.extensions = vec![basic_constraints(None), certificates_only];
    let bounded = bounded.sign(&intel.authority_key, &intel.root_key);
    assert_eq!(verify(&list, Some(&bounded)), Err(EvidenceError::NotAnIssuer));
    // A revoked authority.
    let mut root_list = intel.root_list.clone();
    root_list.revoked = vec![intel.authority.serial.clone()];
    let root_list = RevocationList::verify(&root_list.sign(&intel.root_key), None, &roots, &[], NOW_S);
    let lists = [root_list.expect("it is verified")];
    assert_eq!(
        RevocationList::verify(&list, Some(&authority), &roots, &lists, NOW_S),
        Err(EvidenceError::Revoked)
    );
}

#[test]
fn lists_of_a_part_of_the_certificates_are_refused() {
    let key = TestKey::p256("root");
    let root = CertificateDraft::authority("A", "A").sign(&key, &key);
    let roots = [TrustRoot::new(&root).expect("a root")];
    let mut list = ListDraft::new("A");
    // The changes since another list (a delta), and a list for some certificates only.
    for identifier in ["2.5.29.27", "2.5.29.28"] {
        list.extensions = vec![extension(identifier, true, &integer(&[1]))];
        assert_eq!(
            RevocationList::verify(&list.sign(&key), None, &roots, &[], NOW_S),
            Err(EvidenceError::UnknownCriticalExtension(Part::RevocationList))
        );
    }
}

#[test]
fn a_list_is_bounded_and_a_serial_number_has_one_form() {
    let key = TestKey::p256("root");
    let root = CertificateDraft::authority("A", "A").sign(&key, &key);
    let roots = [TrustRoot::new(&root).expect("a root")];
    let mut list = ListDraft::new("A");
    list.revoked = vec![vec![], vec![0x80], vec![1, 0]];
    let verified =
        RevocationList::verify(&list.sign(&key), None, &roots, &[], NOW_S).expect("it is verified");
    let serial = |bytes: &[u8]| Serial::new(bytes).expect("short");
    assert!(verified.revokes(&serial(&[])) && verified.revokes(&serial(&[0x80])));
    assert!(!verified.revokes(&serial(&[0x80, 0])) && !verified.revokes(&serial(&[1])));
    list.revoked = vec![vec![1; 21]];
    assert_eq!(
        RevocationList::verify(&list.sign(&key), None, &roots, &[], NOW_S),
        Err(EvidenceError::Malformed(Part::RevocationList))
    );
    let many = |count: u16| (1..=count).map(|number| number.to_be_bytes().to_vec()).collect();
    list.revoked = many(MAX_REVOKED as u16);
    let verified =
        RevocationList::verify(&list.sign(&key), None, &roots, &[], NOW_S).expect("it is verified");
    assert_eq!(verified.revoked.len(), MAX_REVOKED as usize);
    assert!(verified.revokes(&serial(&[8, 0])) && !verified.revokes(&serial(&[8, 1])));
    list.revoked = many(MAX_REVOKED as u16 + 1);
    assert_eq!(
        RevocationList::verify(&list.sign(&key), None, &roots, &[], NOW_S),
        Err(EvidenceError::TooLong(Part::RevocationList))
    );
}

#[test]
fn issuers_of_a_chain_are_those_whose_lists_it_needs() {
    let intel = intel();
    let roots = intel.roots().intel;
    let lists = intel.lists().expect("they are verified");
    let path = intel
        .verify_pck(&intel.roots(), NOW_S)
        .expect("it is verified")
        .path;
    let [root, authority] = [&lists[0], &lists[1]].map(|list| list.issuer);
    assert_eq!(
        path.certificates.iter().map(|id| id.issuer).collect::<Vec<_>>(),
        [authority, root, root]
    );
    // The chain without its root and with it.
    let chain = intel.pck_chain();
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    for length in [2, 3] {
        assert_eq!(
            issuers_of_chain(&chain[..length], &roots),
            Ok(vec![authority, root])
        );
    }
    assert_eq!(issuers_of_chain(&chain[2..], &roots), Ok(vec![root]));
    assert_eq!(
        issuers_of_chain(&[], &roots),
        Err(EvidenceError::WrongChainLength)
    );
    assert_eq!(
        issuers_of_chain(&[chain[0]; 7], &roots),
        Err(EvidenceError::WrongChainLength)
    );
    assert_eq!(
        issuers_of_chain(&[&[1, 2, 3]], &roots),
        Err(EvidenceError::Malformed(Part::Certificate))
    );
}
