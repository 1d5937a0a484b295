//! Settings of the jobs' disks, and of the images and outputs that are kept: `assay.disk_dir`,
//! `assay.image_cache_gb`, `assay.kept_output_gb`.

use std::path::{Path, PathBuf};

use assay_client::yaml::Reader;

use super::file;

/// Folder of the jobs' disks, and bounds of the kept images and outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// `disk_dir`: folder of the jobs' disks, on the file system that `storage_gb` promises. Default: `disks`
    /// in `state_dir`.
    pub disk_dir: PathBuf,
    /// `image_cache_gb`: room for images that are kept after their jobs, in GiB, 1 or more. Default: a
    /// quarter of the file system with the engine's images.
    pub image_cache_gib: Option<u32>,
    /// `kept_output_gb`: room for the output folders of ended jobs, in GiB, besides `storage_gb`; 0 keeps
    /// none. Default: a tenth of `storage_gb`.
    pub kept_output_gib: Option<u32>,
}

impl StorageSettings {
    /// Returns the room for kept images in bytes, if the file names one.
    pub fn image_cache_bytes(&self) -> Option<u64> {
        self.image_cache_gib.map(|gib| u64::from(gib) << 30)
    }

    /// Returns the room for kept outputs in bytes, on a machine that offers `disk_gib` GiB.
    pub fn kept_output_bytes(&self, disk_gib: u32) -> u64 {
        self.kept_output_gib
            .map_or((u64::from(disk_gib) << 30) / 10, |gib| u64::from(gib) << 30)
    }
}

/// Reads the settings; `folder` is the base of relative paths.
pub(super) fn resolve(
    reader: &mut Reader,
    section: &file::Assay,
    folder: &Path,
    state_dir: &Path,
) -> StorageSettings {
    StorageSettings {
        disk_dir: section
            .disk_dir
            .as_ref()
            .map_or_else(|| state_dir.join("disks"), |text| folder.join(&text.value)),
        image_cache_gib: section
            .image_cache_gb
            .as_ref()
            .map(|text| reader.number("assay.image_cache_gb", text, 1..=u32::MAX)),
        kept_output_gib: section
            .kept_output_gb
            .as_ref()
            .map(|text| reader.number("assay.kept_output_gb", text, 0..=u32::MAX)),
    }
}
