//! One run of `guestinspect`: several guests, several of them at once, each in an appliance of its own.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context;
use guestfs::api::procedures::inspection::Inspect;
use guestfs::api::records::{FoundFilesystem, Inspection, OperatingSystem};
use guestfs::api::values::{Key, Mountable};
use guestfs::appliance::vm::Access;
use guestfs::libvirt::Libvirt;
use guestfs::{Event, EventHandler, Handle, Settings};
use parking_lot::Mutex;

use super::{Contents, Found, contents, json, table, xml};
use crate::keys::{Asking, KeyRequest, Opens};
use crate::report::{on_one_line, one_line, say};
use crate::request::GivenDrives;
use crate::unlock::Unlocker;

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A table for people.
    Table,
    /// An array with an object for each guest.
    Json,
    /// virt-inspector's elements.
    Xml,
}

/// What to do about the applications that are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applications {
    /// Leave them out, which saves the time to look for them.
    LeaveOut,
    /// Count them in the table; list them in JSON and XML.
    Count,
    /// List them in the table, too.
    List,
}

/// Everything one `guestinspect` command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectRequest {
    /// The guests.
    pub guests: Vec<GivenGuest>,
    /// Where domains are looked for.
    pub libvirt: Libvirt,
    /// How encrypted devices are opened.
    pub keys: KeyRequest,
    /// How many guests are looked at at the same time.
    pub parallel: NonZeroUsize,
    /// What to print.
    pub output: Output,
    /// What to do about applications.
    pub applications: Applications,
    /// Whether icons are wanted.
    pub has_icons: bool,
    /// Whether the library tells what it does.
    pub is_verbose: bool,
}

/// A guest to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenGuest {
    /// What it is called: its first image, or the domain.
    pub name: String,
    /// Its disks.
    pub drives: Vec<GivenDrives>,
}

impl GivenGuest {
    /// Puts the guest's name before a text that does not begin with it.
    fn named_once(&self, text: &str) -> String {
        let own = text.strip_prefix("-d ").unwrap_or(text);
        let is_named = own.strip_prefix(self.name.as_str()).is_some_and(|rest| rest.starts_with(':'));
        if is_named { text.to_owned() } else { format!("{}: {text}", self.name) }
    }
}

/// Inspects all guests and prints what was found; says whether all could be looked at. One that cannot be gives a line on
/// standard error, and the others are looked at all the same.
pub fn run(request: &InspectRequest) -> anyhow::Result<bool> {
    let settings = Settings::from_environment()?;
    let messages = Arc::new(Messages::default());
    let count = request.guests.len();
    let keys = Keys { known: request.keys.load()?, asking: asking(request) };
    let results = Mutex::new((0..count).map(|_| None).collect::<Vec<Option<Found>>>());
    let next = Mutex::new(0..count);
    let work = || {
        loop {
            let Some(index) = next.lock().next() else { return };
            let guest = &request.guests[index];
            match inspect(request, guest, &keys, &settings, &messages) {
                Ok(found) => results.lock()[index] = Some(found),
                Err(error) => {
                    messages.clear();
                    say(format_args!("guestinspect: {}", guest.named_once(&one_line(&error))));
                }
            }
            messages.one_more(count);
        }
    };
    std::thread::scope(|scope| {
        let workers = request.parallel.get().min(count);
        (0..workers).for_each(|_| drop(scope.spawn(work)));
    });
    messages.clear();
    let results = results.into_inner();
    let found: Vec<(&str, &Found)> = request
        .guests
        .iter()
        .zip(&results)
        .filter_map(|(guest, found)| Some((guest.name.as_str(), found.as_ref()?)))
        .collect();
    let text = print(request, &found);
    io::stdout().lock().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(found.len() == count)
}

/// Writes what was found.
fn print(request: &InspectRequest, found: &[(&str, &Found)]) -> String {
    match request.output {
        // Where all failed, headings would stand above nothing.
        Output::Table if found.is_empty() => String::new(),
        Output::Table if request.applications == Applications::List => {
            format!("{}\n{}", table::table(found), table::applications(found))
        }
        Output::Table => table::table(found),
        Output::Xml => xml::document(found.iter().map(|(_, found)| *found)),
        Output::Json => {
            let images = found.iter().map(|(name, found)| {
                let mut object = json::found(found);
                object["image"] = serde_json::json!(name);
                object
            });
            format!("{:#}\n", serde_json::Value::Array(images.collect()))
        }
    }
}

/// The keys of all guests.
struct Keys {
    known: Vec<(Opens, Key)>,
    asking: Asking,
}

/// Decides where further keys come from. Of several guests, nobody wants to be stopped by one, nor could tell which of
/// those that are looked at at the same time asks.
fn asking(request: &InspectRequest) -> Asking {
    match request.keys.asking {
        Asking::Terminal { .. } if request.guests.len() > 1 => Asking::Nobody,
        asking => asking,
    }
}

/// Inspects one guest in an appliance of its own.
fn inspect(
    request: &InspectRequest,
    guest: &GivenGuest,
    keys: &Keys,
    settings: &Settings,
    messages: &Arc<Messages>,
) -> anyhow::Result<Found> {
    let mut settings = settings.clone();
    settings.is_verbose |= request.is_verbose;
    let mut handle = Handle::with_settings(settings);
    let shown = Arc::clone(messages);
    handle.set_event_handler(EventHandler::new(move |event| shown.show(event)))?;
    for given in &guest.drives {
        for drive in given.drives(&request.libvirt, Access::ReadOnly)? {
            handle.add_drive(drive)?;
        }
    }
    handle.launch()?;
    let who = format!("guestinspect: {}", guest.name);
    Unlocker::new(who, keys.known.clone(), keys.asking).unlock(&handle, Access::ReadOnly)?;
    let mut found = Found::from(handle.guest()?.inspect()?);
    if request.output != Output::Json {
        warn_of_missing(&found.inspection, |warning| messages.warn(&guest.name, warning));
    }
    if request.applications != Applications::LeaveOut || request.has_icons {
        let of = |system: &OperatingSystem| {
            let warn = |problem: &str| messages.warn(&guest.name, &format!("{}: {problem}", system.root));
            contents_of(request, &handle, &found.inspection, &system.root, &warn)
        };
        found.contents = found.inspection.systems.iter().map(of).collect();
    }
    handle.shutdown()?;
    Ok(found)
}

/// Looks into the file systems of one operating system, mounted for it. What cannot be looked at is told through `warn`.
fn contents_of(
    request: &InspectRequest,
    handle: &Handle,
    found: &Inspection,
    root: &Mountable,
    warn: &dyn Fn(&str),
) -> Contents {
    match contents::mount(handle, found, root) {
        Ok(missed) => missed.iter().for_each(|note| warn(note)),
        Err(error) => {
            warn(&format!("what is on it is not told: {error}"));
            return Contents::default();
        }
    }
    let told = |what: &str, error: guestfs::Error| warn(&format!("{what}: {error}"));
    let has_applications = request.applications != Applications::LeaveOut;
    let listed = has_applications.then(|| contents::applications(handle, root));
    let listed = listed.and_then(|listed| listed.map_err(|error| told("applications", error)).ok());
    listed.iter().flat_map(|listed| &listed.notes).for_each(|note| warn(&note.to_string()));
    let icon = request.has_icons.then(|| contents::icon(handle, root));
    let icon = icon.and_then(|icon| icon.map_err(|error| told("icon", error)).ok());
    Contents { applications: listed.map(|listed| listed.applications), icon: icon.flatten() }
}

/// Tells what inspection left out, which JSON has in it.
fn warn_of_missing(found: &Inspection, warn: impl Fn(&str)) {
    for filesystem in &found.filesystems {
        if let Some(problem) = &filesystem.problem {
            let FoundFilesystem { mountable, kind, .. } = filesystem;
            warn(&format!("{mountable} ({kind}) cannot be looked at: {problem}"));
        }
    }
    for system in &found.systems {
        system.notes.iter().for_each(|note| warn(&format!("{}: {note}", system.root)));
    }
}

/// What is shown on standard error while several appliances work.
#[derive(Default)]
struct Messages {
    /// What was said, for each appliance says the same about this machine. Held while a line is written.
    said: Mutex<HashSet<String>>,
    /// How many guests are done, and whether the line that says so is on the terminal.
    done: Mutex<(usize, bool)>,
}

/// The most different messages that are remembered, so as not to be shown twice.
const SAID_MAX: usize = 1000;

impl Messages {
    fn show(&self, event: &Event<'_>) {
        let text = match event {
            Event::Log(text) | Event::Warning(text) => text,
            Event::Launch { step, .. } => step,
            _ => return,
        };
        let mut said = self.said.lock();
        if said.len() < SAID_MAX && said.insert((*text).to_owned()) {
            self.clear();
            say(format_args!("guestinspect: {text}"));
        }
    }

    /// Tells what is missing of a guest of which the rest is told.
    fn warn(&self, guest: &str, warning: &str) {
        self.clear();
        say(format_args!("guestinspect: {guest}: warning: {}", on_one_line(warning)));
    }

    /// Tells on a terminal how many guests are done.
    fn one_more(&self, of: usize) {
        let mut done = self.done.lock();
        done.0 += 1;
        if of > 1 && io::stderr().is_terminal() {
            done.1 = true;
            // A terminal that is gone is no failure.
            let _ = write!(io::stderr(), "\rguestinspect: {} of {of} guests", done.0);
        }
    }

    /// Takes the line off the terminal, for another to be written.
    fn clear(&self) {
        let mut done = self.done.lock();
        if std::mem::take(&mut done.1) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
