//! Identity of a device beyond its back end: the same GPU has the same one everywhere on its host.

/// Identity of a device, as far as its back end reports one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct DeviceIdentity {
    /// UUID in NVIDIA's spelling, such as `GPU-8d9c4c3b-…`.
    pub uuid: Option<String>,
    /// PCI address in the kernel's spelling, such as `0000:3b:00.0`.
    pub pci_address: Option<String>,
}

/// Returns a PCI address in the kernel's spelling; `None` if the text is none.
///
/// Drivers differ in case and in the digits of the domain: `00000000:3B:00.0` is `0000:3b:00.0`.
pub fn normal_pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.trim().rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    // Digits only: the parser takes a sign as well.
    let number = |text: &str, most: u32| {
        let is_plain = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(text, 16)
            .ok()
            .filter(|number| is_plain && *number <= most)
    };
    Some(format!(
        "{:04x}:{:02x}:{:02x}.{:x}",
        number(domain, u32::MAX)?,
        number(bus, 0xff)?,
        number(device, 0x1f)?,
        number(function, 7)?
    ))
}

/// Returns a UUID in NVIDIA's spelling.
pub(crate) fn gpu_uuid(bytes: [u8; 16]) -> String {
    let mut text = String::from("GPU-");
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_drivers_are_spelled_alike() {
        for (text, expected) in [
            ("00000000:3B:00.0", Some("0000:3b:00.0")),
            ("0000:3b:00.0", Some("0000:3b:00.0")),
            ("3B:1F.7", Some("0000:3b:1f.7")),
            ("00010000:01:00.0", Some("10000:01:00.0")),
            ("0000:3b:00", None),
            ("0000:3b:20.0", None),
            ("0000:3b:00.8", None),
            ("0000:+3:00.0", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(normal_pci_address(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn uuid_is_spelled_as_nvidia_does() {
        let bytes = [
            0x8d, 0x9c, 0x4c, 0x3b, 0, 1, 2, 3, 4, 5, 0xa6, 0xb7, 0xc8, 0xd9, 0xea, 0xfb,
        ];
        assert_eq!(gpu_uuid(bytes), "GPU-8d9c4c3b-0001-0203-0405-a6b7c8d9eafb");
    }
}
