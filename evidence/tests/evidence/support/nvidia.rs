//! NVIDIA with test keys: root, authorities, GPUs, reports.

use alloc::{vec, vec::Vec};

use assay_evidence::{
    EvidenceError, RevocationList, TrustRoot, TrustRoots, Unbound,
    nvidia::{
        Component, DeviceKey, GpuReport, NvidiaPolicy, Reference, ReferenceMeasurement, verify_device_key,
        verify_report,
    },
};

use super::{
    der::{CertificateDraft, ListDraft, NOW_S, explicit, extension, integer, octets, oid, sequence, utf8},
    keys::TestKey,
};

pub(crate) const IDENTITY: &str = "NVIDIA:GH100:00112233445566AA";
pub(crate) const FIRMWARE_ID: [u8; 48] = [0xf1; 48];

/// Properties and report of a test GPU. The default is valid.
#[derive(Clone)]
pub(crate) struct Nvidia {
    /// Keys of the root, the family, the provisioner, the identity and the attestation.
    pub(crate) keys: [TestKey; 5],
    /// Certificates of these keys.
    pub(crate) certificates: [CertificateDraft; 5],
    pub(crate) root_list: ListDraft,
    pub(crate) family_list: ListDraft,
    pub(crate) nonce: [u8; 32],
    pub(crate) measurements: Vec<(u8, Vec<u8>)>,
    pub(crate) opaque: Vec<(u16, Vec<u8>)>,
    pub(crate) references: Vec<Reference>,
}

impl Nvidia {
    pub(crate) fn new(nonce: [u8; 32]) -> Self {
        let names = [
            "Test Device Identity CA",
            "Test GH100 Identity",
            "Test Provisioner",
            "Test GPU",
            "Test GPU FMC",
        ];
        let mut certificates = [0, 0, 1, 2, 3]
            .iter()
            .zip(names)
            .map(|(issuer, subject)| CertificateDraft::authority(subject, names[*issuer]))
            .collect::<Vec<_>>();
        certificates[4] = CertificateDraft::signer(names[4], names[3]);
        certificates[4]
            .extensions
            .extend([alternative_name(IDENTITY), firmware(&FIRMWARE_ID)]);
        let measurements = (1..=8).map(|index| (index, vec![index; 48])).collect();
        let opaque = vec![
            (3, b"550.90.07\0".to_vec()),
            (6, vec![0x00, 0x9f, 0x00, 0x96, 0x01, 0, 0, 0]),
            (15, b"882\0\0".to_vec()),
            (17, b"1010\0".to_vec()),
            (18, b"0200\0".to_vec()),
            (20, FIRMWARE_ID.to_vec()),
        ];
        let reference = |component, board: &[u8], version: &[u8], indices: [u8; 3]| Reference {
            component,
            chip: b"GH100".to_vec().try_into().expect("short"),
            board: board.to_vec().try_into().expect("short"),
            version: version.to_vec().try_into().expect("short"),
            measurements: indices
                .map(|index| ReferenceMeasurement {
                    index,
                    alternatives: vec![[0xff; 48], [index; 48]].try_into().expect("short"),
                })
                .to_vec()
                .try_into()
                .expect("short"),
        };
        Self {
            keys: names.map(TestKey::p384),
            certificates: certificates.try_into().ok().expect("five"),
            root_list: ListDraft::new(names[0]),
            family_list: ListDraft::new(names[1]),
            nonce,
            measurements,
            opaque,
            references: vec![
                reference(Component::Driver, b"", b"550.90.07", [2, 3, 4]),
                reference(Component::Vbios, b"1010_0200_882", b"96.00.9F.00.01", [1, 5, 8]),
            ],
        }
    }

    pub(crate) fn roots(&self) -> TrustRoots {
        let root = TrustRoot::new(&self.certificates[0].sign(&self.keys[0], &self.keys[0])).expect("a root");
        TrustRoots {
            nvidia: vec![root].try_into().expect("there is room"),
            ..Default::default()
        }
    }

    pub(crate) fn lists(&self) -> Result<Vec<RevocationList>, EvidenceError> {
        let roots = self.roots().nvidia;
        let family = self.certificates[1].sign(&self.keys[1], &self.keys[0]);
        let root_list = self.root_list.sign(&self.keys[0]);
        let family_list = self.family_list.sign(&self.keys[1]);
        Ok(vec![
            RevocationList::verify(&root_list, None, &roots, &[], NOW_S)?,
            RevocationList::verify(&family_list, Some(&family), &roots, &[], NOW_S)?,
        ])
    }

    /// Returns the chain, the attestation key's certificate first.
    pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
        (0..5)
            .rev()
            .map(|place: usize| {
                self.certificates[place].sign(&self.keys[place], &self.keys[place.saturating_sub(1)])
            })
            .collect()
    }

    pub(crate) fn report(&self) -> Vec<u8> {
        let mut report = vec![0x11, 0xe0, 0x01, 0xff];
        report.extend(self.nonce);
        report.push(0);
        let record: Vec<u8> = self
            .measurements
            .iter()
            .flat_map(|(index, value)| {
                let size = value.len() as u16;
                let mut block = vec![*index, 1];
                block.extend((size + 3).to_le_bytes());
                block.push(1);
                block.extend(size.to_le_bytes());
                block.extend(value);
                block
            })
            .collect();
        report.extend([0x11, 0x60, 0, 0, self.measurements.len() as u8]);
        report.extend(&(record.len() as u32).to_le_bytes()[..3]);
        report.extend(record);
        report.extend([0x5a; 32]);
        let opaque: Vec<u8> = self
            .opaque
            .iter()
            .flat_map(|(kind, value)| {
                let mut field = kind.to_le_bytes().to_vec();
                field.extend((value.len() as u16).to_le_bytes());
                field.extend(value);
                field
            })
            .collect();
        report.extend((opaque.len() as u16).to_le_bytes());
        report.extend(opaque);
        let signature = self.keys[4].sign_raw(&report);
        report.extend(signature);
        report
    }

    pub(crate) fn device_key(&self, roots: &TrustRoots) -> Result<DeviceKey, EvidenceError> {
        let chain = self.chain();
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        verify_device_key(&chain, roots, &self.lists()?, true, NOW_S)
    }

    /// Verifies chain, lists, references and report.
    pub(crate) fn verify(&self) -> Result<Unbound, EvidenceError> {
        let roots = self.roots();
        let key = self.device_key(&roots)?;
        let report = self.report();
        let policy = NvidiaPolicy { require_lists: true };
        verify_report(
            &GpuReport::read(&report)?,
            &key,
            &self.references,
            &self.lists()?,
            &roots,
            &policy,
            NOW_S,
        )
    }
}

pub(crate) fn alternative_name(identity: &str) -> Vec<u8> {
    let other = explicit(
        0,
        &[oid("1.3.6.1.4.1.412.274.1"), explicit(0, &utf8(identity))].concat(),
    );
    extension("2.5.29.17", false, &sequence(&[&other]))
}

/// Encodes the firmware's hash in Hopper's form.
pub(crate) fn firmware(id: &[u8]) -> Vec<u8> {
    let key = TestKey::p384("device").key_info();
    let algorithm = oid("2.16.840.1.101.3.4.2.2");
    let hash = sequence(&[&algorithm, &octets(id)]);
    extension("2.23.133.5.4.1", false, &sequence(&[&integer(&[1]), &key, &hash]))
}
