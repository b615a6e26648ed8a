//! What is known about a btrfs: its subvolumes, quotas, and the work that goes on in it. Names of fields are those of the
//! protocol.

use crate::values::ByteString;
use crate::xdr::record;

record! {
    /// A subvolume of a btrfs.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BtrfsSubvolume {
        /// Its id.
        pub btrfssubvolume_id: u64,
        /// The id of the subvolume above it.
        pub btrfssubvolume_top_level_id: u64,
        /// Its path from the top level.
        pub btrfssubvolume_path: ByteString,
    }
}

record! {
    /// A quota group of a btrfs: what it counts.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BtrfsQuotaGroup {
        /// Its id: LEVEL/NUMBER.
        pub btrfsqgroup_id: String,
        /// Bytes that it refers to.
        pub btrfsqgroup_rfer: u64,
        /// Bytes that nothing else refers to.
        pub btrfsqgroup_excl: u64,
    }
}

record! {
    /// How far the balancing of a btrfs is. Numbers are of chunks.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BtrfsBalance {
        /// `none`, `running`, `paused`, or what else btrfs says.
        pub btrfsbalance_status: String,
        /// How many there are, about.
        pub btrfsbalance_total: u64,
        /// How many are balanced.
        pub btrfsbalance_balanced: u64,
        /// How many were looked at.
        pub btrfsbalance_considered: u64,
        /// How much is left, in percent.
        pub btrfsbalance_left: u64,
    }
}

record! {
    /// What the last scrub of a btrfs has found.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct BtrfsScrub {
        /// Extents of data that were read.
        pub btrfsscrub_data_extents_scrubbed: u64,
        /// Extents of trees that were read.
        pub btrfsscrub_tree_extents_scrubbed: u64,
        /// Bytes of data that were read.
        pub btrfsscrub_data_bytes_scrubbed: u64,
        /// Bytes of trees that were read.
        pub btrfsscrub_tree_bytes_scrubbed: u64,
        /// What could not be read.
        pub btrfsscrub_read_errors: u64,
        /// What did not have its checksum.
        pub btrfsscrub_csum_errors: u64,
        /// Trees with wrong headers.
        pub btrfsscrub_verify_errors: u64,
        /// Blocks without a checksum.
        pub btrfsscrub_no_csum: u64,
        /// Checksums of no block.
        pub btrfsscrub_csum_discards: u64,
        /// Damaged superblocks.
        pub btrfsscrub_super_errors: u64,
        /// Reads for which there was no memory.
        pub btrfsscrub_malloc_errors: u64,
        /// What could not be repaired.
        pub btrfsscrub_uncorrectable_errors: u64,
        /// What was repaired by something else meanwhile.
        pub btrfsscrub_unverified_errors: u64,
        /// What was repaired.
        pub btrfsscrub_corrected_errors: u64,
        /// Where the scrub is, in bytes.
        pub btrfsscrub_last_physical: u64,
    }
}
