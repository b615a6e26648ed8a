//! What LVM says about its physical volumes, volume groups and logical volumes. Names of fields are LVM's.

use crate::values::{ByteString, DeviceName};
use crate::xdr::{Decode, DecodeError, Decoder, Encode, Encoder, record};

/// LVM's identifier of something: 32 letters and digits, which LVM shows with dashes between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LvmUuid(pub [u8; 32]);

impl Encode for LvmUuid {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.fixed(&self.0);
    }
}

impl Decode for LvmUuid {
    const BYTES_MIN: usize = 32;

    fn decode(decoder: &mut Decoder<'_>) -> Result<LvmUuid, DecodeError> {
        let bytes = decoder.fixed(Self::BYTES_MIN)?;
        bytes.try_into().map(LvmUuid).map_err(|_| DecodeError::Text("an LVM UUID has 32 bytes"))
    }
}

record! {
    /// A physical volume.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PhysicalVolume {
        /// The device.
        pub pv_name: DeviceName,
        /// Its identifier.
        pub pv_uuid: LvmUuid,
        /// The format of the metadata: `lvm2`.
        pub pv_fmt: String,
        /// In bytes.
        pub pv_size: i64,
        /// Of the device, in bytes.
        pub dev_size: i64,
        /// In bytes.
        pub pv_free: i64,
        /// In bytes.
        pub pv_used: i64,
        /// Attributes, a letter each.
        pub pv_attr: String,
        /// Extents.
        pub pv_pe_count: i64,
        /// Extents in use.
        pub pv_pe_alloc_count: i64,
        /// Tags, separated by commas.
        pub pv_tags: String,
        /// Where the first extent begins, in bytes.
        pub pe_start: i64,
        /// Areas with metadata.
        pub pv_mda_count: i64,
        /// Room left for metadata, in bytes.
        pub pv_mda_free: i64,
    }
}

record! {
    /// A volume group.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct VolumeGroup {
        /// The name.
        pub vg_name: ByteString,
        /// Its identifier.
        pub vg_uuid: LvmUuid,
        /// The format of the metadata: `lvm2`.
        pub vg_fmt: String,
        /// Attributes, a letter each.
        pub vg_attr: String,
        /// In bytes.
        pub vg_size: i64,
        /// In bytes.
        pub vg_free: i64,
        /// The system that it belongs to, or empty.
        pub vg_sysid: String,
        /// In bytes.
        pub vg_extent_size: i64,
        /// Extents.
        pub vg_extent_count: i64,
        /// Free extents.
        pub vg_free_count: i64,
        /// The most logical volumes; 0 for no limit.
        pub max_lv: i64,
        /// The most physical volumes; 0 for no limit.
        pub max_pv: i64,
        /// Physical volumes.
        pub pv_count: i64,
        /// Logical volumes.
        pub lv_count: i64,
        /// Snapshots.
        pub snap_count: i64,
        /// Counts changes of the metadata.
        pub vg_seqno: i64,
        /// Tags, separated by commas.
        pub vg_tags: String,
        /// Areas with metadata.
        pub vg_mda_count: i64,
        /// Room left for metadata, in bytes.
        pub vg_mda_free: i64,
    }
}

record! {
    /// A logical volume.
    #[derive(Debug, Clone, PartialEq)]
    pub struct LogicalVolume {
        /// The name, without the volume group's.
        pub lv_name: ByteString,
        /// Its identifier.
        pub lv_uuid: LvmUuid,
        /// Attributes, a letter each.
        pub lv_attr: String,
        /// The major number that it is to have, −1 for any.
        pub lv_major: i64,
        /// The minor number that it is to have, −1 for any.
        pub lv_minor: i64,
        /// The major number that it has, −1 while it is not active.
        pub lv_kernel_major: i64,
        /// The minor number that it has, −1 while it is not active.
        pub lv_kernel_minor: i64,
        /// In bytes.
        pub lv_size: i64,
        /// Segments.
        pub seg_count: i64,
        /// Of a snapshot, what it was taken of.
        pub origin: String,
        /// Of a snapshot, how full it is, in percent; −1 for others.
        pub snap_percent: f32,
        /// Of a mirror, how far it is in step, in percent; −1 for others.
        pub copy_percent: f32,
        /// Of one that is being moved, where from.
        pub move_pv: String,
        /// Tags, separated by commas.
        pub lv_tags: String,
        /// Of a mirror, the volume with its log.
        pub mirror_log: String,
        /// Kernel modules that it needs, separated by commas.
        pub modules: String,
    }
}
