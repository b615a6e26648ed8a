//! LVM's reports: which columns are asked for, and what the rows say.

use guestfs_api::Failure;
use guestfs_api::records::{LogicalVolume, LvmUuid, PhysicalVolume, VolumeGroup};
use guestfs_api::values::{ByteString, DeviceName};

/// What separates columns: no name or tag of LVM's has it.
const SEPARATOR: &str = "\t";

/// The columns of a [`PhysicalVolume`].
pub const PHYSICAL_VOLUME: &[&str] = &[
    "pv_name",
    "pv_uuid",
    "pv_fmt",
    "pv_size",
    "dev_size",
    "pv_free",
    "pv_used",
    "pv_attr",
    "pv_pe_count",
    "pv_pe_alloc_count",
    "pv_tags",
    "pe_start",
    "pv_mda_count",
    "pv_mda_free",
];

/// The columns of a [`VolumeGroup`].
pub const VOLUME_GROUP: &[&str] = &[
    "vg_name",
    "vg_uuid",
    "vg_fmt",
    "vg_attr",
    "vg_size",
    "vg_free",
    "vg_sysid",
    "vg_extent_size",
    "vg_extent_count",
    "vg_free_count",
    "max_lv",
    "max_pv",
    "pv_count",
    "lv_count",
    "snap_count",
    "vg_seqno",
    "vg_tags",
    "vg_mda_count",
    "vg_mda_free",
];

/// The columns of a [`LogicalVolume`].
pub const LOGICAL_VOLUME: &[&str] = &[
    "lv_name",
    "lv_uuid",
    "lv_attr",
    "lv_major",
    "lv_minor",
    "lv_kernel_major",
    "lv_kernel_minor",
    "lv_size",
    "seg_count",
    "origin",
    "snap_percent",
    "copy_percent",
    "move_pv",
    "lv_tags",
    "mirror_log",
    "modules",
];

/// Gives the options of a report with these columns, in the form that [`parse`] reads.
pub fn options(columns: &[&str]) -> Vec<String> {
    let options = ["--noheadings", "--unbuffered", "--nosuffix", "--units", "b", "--separator", SEPARATOR];
    let options = options.into_iter().map(str::to_owned);
    options.chain(["--options".to_owned(), columns.join(",")]).collect()
}

/// A row of a report.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    columns: &'static [&'static str],
    values: Vec<String>,
}

/// Reads a report.
pub fn parse(output: &[u8], columns: &'static [&'static str]) -> Result<Vec<Row>, Failure> {
    let text = std::str::from_utf8(output).map_err(|_| Failure::plain("LVM's report is not UTF-8"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let row = |line: &str| {
        // Rows are indented.
        let values: Vec<String> = line.trim_start_matches(' ').split(SEPARATOR).map(str::to_owned).collect();
        if values.len() != columns.len() {
            return Err(Failure::plain(format!("LVM's report has a row of another form: {line:?}")));
        }
        Ok(Row { columns, values })
    };
    lines.map(row).collect()
}

impl Row {
    /// Gives the text of a column.
    pub fn text(&self, column: &str) -> Result<String, Failure> {
        let place = self.columns.iter().position(|name| *name == column);
        let value = place.and_then(|place| self.values.get(place));
        value.cloned().ok_or_else(|| Failure::plain(format!("LVM's report lacks {column}")))
    }

    fn name(&self, column: &str) -> Result<ByteString, Failure> {
        let text = self.text(column)?;
        ByteString::try_from(text.as_str()).map_err(|error| Failure::plain(format!("{column}: {error}")))
    }

    /// Reads a number; where there is none, −1.
    fn number(&self, column: &str) -> Result<i64, Failure> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Ok(-1);
        }
        text.parse().map_err(|_| Failure::plain(format!("{column}: LVM says {text:?}, which is no number")))
    }

    /// Reads a percentage; where there is none, −1.
    fn percentage(&self, column: &str) -> Result<f32, Failure> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Ok(-1.0);
        }
        let number = text.parse().ok().filter(|number: &f32| number.is_finite());
        number.ok_or_else(|| Failure::plain(format!("{column}: LVM says {text:?}, which is no percentage")))
    }

    fn uuid(&self, column: &str) -> Result<LvmUuid, Failure> {
        let text = self.text(column)?;
        let letters: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let letters = letters.try_into().map_err(|_| {
            Failure::plain(format!("{column}: LVM says {text:?}, which is not 32 letters and digits"))
        })?;
        Ok(LvmUuid(letters))
    }

    /// Reads a row of [`PHYSICAL_VOLUME`], for the device that the user knows as `device`.
    pub fn physical_volume(&self, device: DeviceName) -> Result<PhysicalVolume, Failure> {
        Ok(PhysicalVolume {
            pv_name: device,
            pv_uuid: self.uuid("pv_uuid")?,
            pv_fmt: self.text("pv_fmt")?,
            pv_size: self.number("pv_size")?,
            dev_size: self.number("dev_size")?,
            pv_free: self.number("pv_free")?,
            pv_used: self.number("pv_used")?,
            pv_attr: self.text("pv_attr")?,
            pv_pe_count: self.number("pv_pe_count")?,
            pv_pe_alloc_count: self.number("pv_pe_alloc_count")?,
            pv_tags: self.text("pv_tags")?,
            pe_start: self.number("pe_start")?,
            pv_mda_count: self.number("pv_mda_count")?,
            pv_mda_free: self.number("pv_mda_free")?,
        })
    }

    /// Reads a row of [`VOLUME_GROUP`].
    pub fn volume_group(&self) -> Result<VolumeGroup, Failure> {
        Ok(VolumeGroup {
            vg_name: self.name("vg_name")?,
            vg_uuid: self.uuid("vg_uuid")?,
            vg_fmt: self.text("vg_fmt")?,
            vg_attr: self.text("vg_attr")?,
            vg_size: self.number("vg_size")?,
            vg_free: self.number("vg_free")?,
            vg_sysid: self.text("vg_sysid")?,
            vg_extent_size: self.number("vg_extent_size")?,
            vg_extent_count: self.number("vg_extent_count")?,
            vg_free_count: self.number("vg_free_count")?,
            max_lv: self.number("max_lv")?,
            max_pv: self.number("max_pv")?,
            pv_count: self.number("pv_count")?,
            lv_count: self.number("lv_count")?,
            snap_count: self.number("snap_count")?,
            vg_seqno: self.number("vg_seqno")?,
            vg_tags: self.text("vg_tags")?,
            vg_mda_count: self.number("vg_mda_count")?,
            vg_mda_free: self.number("vg_mda_free")?,
        })
    }

    /// Reads a row of [`LOGICAL_VOLUME`].
    pub fn logical_volume(&self) -> Result<LogicalVolume, Failure> {
        Ok(LogicalVolume {
            lv_name: self.name("lv_name")?,
            lv_uuid: self.uuid("lv_uuid")?,
            lv_attr: self.text("lv_attr")?,
            lv_major: self.number("lv_major")?,
            lv_minor: self.number("lv_minor")?,
            lv_kernel_major: self.number("lv_kernel_major")?,
            lv_kernel_minor: self.number("lv_kernel_minor")?,
            lv_size: self.number("lv_size")?,
            seg_count: self.number("seg_count")?,
            origin: self.text("origin")?,
            snap_percent: self.percentage("snap_percent")?,
            copy_percent: self.percentage("copy_percent")?,
            move_pv: self.text("move_pv")?,
            lv_tags: self.text("lv_tags")?,
            mirror_log: self.text("mirror_log")?,
            modules: self.text("modules")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_read_with_what_it_lacks() {
        // From LVM 2.03.16 on Debian 12.
        let row = "  root\t2u3Zi6-Cd0Q-0p8I-uPdf-nXpW-P1Bj-9zI3mX\t-wi-a-----\t-1\t-1\t253\t0\t33554432\t1\t\t\t\t\t\t\t\n";
        let rows = parse(row.as_bytes(), LOGICAL_VOLUME).unwrap();
        let volume = rows[0].logical_volume().unwrap();
        assert_eq!(volume.lv_name, ByteString::try_from("root").unwrap());
        assert_eq!(&volume.lv_uuid.0, b"2u3Zi6Cd0Q0p8IuPdfnXpWP1Bj9zI3mX");
        assert_eq!((volume.lv_major, volume.lv_kernel_major, volume.lv_size), (-1, 253, 33_554_432));
        assert_eq!((volume.snap_percent, volume.copy_percent), (-1.0, -1.0));
    }

    #[test]
    fn rows_of_another_form_are_refused() {
        assert!(parse(b"  a\tb\n", &["vg_name"]).is_err());
        assert!(parse(b"  \xff\n", &["vg_name"]).is_err());
        assert_eq!(parse(b"\n  \n", &["vg_name"]).unwrap(), []);
        let bad_number = parse(b"x\n", &["lv_size"]).unwrap().remove(0);
        assert!(bad_number.number("lv_size").unwrap_err().message.contains("no number"));
        assert!(bad_number.percentage("lv_size").is_err());
        assert!(bad_number.uuid("lv_size").is_err());
        assert!(bad_number.text("vg_size").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_report_makes_the_reader_panic(output in "([a-z0-9.-]{0,8}\t?){0,20}\n?") {
            for row in parse(output.as_bytes(), VOLUME_GROUP).unwrap_or_default() {
                let _ = row.volume_group();
            }
        }
    }
}
