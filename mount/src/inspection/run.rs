//! One run of `guestinspect`: several images, several of them at once, each in an appliance of its own.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context;
use guestfs::api::procedures::inspection::Inspect;
use guestfs::api::records::Inspection;
use guestfs::appliance::vm::{Access, Drive, Format, Location};
use guestfs::{Event, EventHandler, Handle, Settings};
use parking_lot::Mutex;

use super::{json, table, xml};
use crate::report::{one_line, say};

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A table for people.
    Table,
    /// An array with an object for each image.
    Json,
    /// virt-inspector's elements.
    Xml,
}

/// Everything one `guestinspect` command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectRequest {
    /// The images, each with a guest of its own.
    pub images: Vec<Location>,
    /// Their format; each is found out when none is given.
    pub format: Option<Format>,
    /// How many are looked at at the same time.
    pub parallel: NonZeroUsize,
    /// What to print.
    pub output: Output,
    /// Whether the library tells what it does.
    pub is_verbose: bool,
}

/// Inspects all images and prints what was found; says whether all could be looked at. One that cannot be gives a line on
/// standard error, and the others are looked at all the same.
pub fn run(request: &InspectRequest) -> anyhow::Result<bool> {
    let settings = Settings::from_environment()?;
    let messages = Arc::new(Messages::default());
    let results = Mutex::new((0..request.images.len()).map(|_| None).collect::<Vec<Option<Inspection>>>());
    let next = Mutex::new(0..request.images.len());
    let work = || {
        loop {
            let Some(index) = next.lock().next() else { return };
            let image = &request.images[index];
            match inspect(request, image, &settings, &messages) {
                Ok(found) => results.lock()[index] = Some(found),
                Err(error) => {
                    messages.clear();
                    say(format_args!("guestinspect: {image}: {}", one_line(&error)));
                }
            }
            messages.one_more(request.images.len());
        }
    };
    std::thread::scope(|scope| {
        let workers = request.parallel.get().min(request.images.len());
        (0..workers).for_each(|_| drop(scope.spawn(work)));
    });
    messages.clear();
    let results = results.into_inner();
    let names: Vec<String> = request.images.iter().map(Location::to_string).collect();
    let found: Vec<(&str, &Inspection)> = names
        .iter()
        .zip(&results)
        .filter_map(|(name, found)| Some((name.as_str(), found.as_ref()?)))
        .collect();
    let text = print(request.output, &found);
    io::stdout().lock().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(found.len() == names.len())
}

/// Writes what was found.
fn print(output: Output, found: &[(&str, &Inspection)]) -> String {
    match output {
        Output::Table => table::table(found.iter().copied()),
        Output::Xml => xml::document(found.iter().map(|(_, found)| *found)),
        Output::Json => {
            let images = found.iter().map(|(name, found)| {
                let mut object = json::inspection(found);
                object["image"] = serde_json::json!(name);
                object
            });
            format!("{:#}\n", serde_json::Value::Array(images.collect()))
        }
    }
}

/// Inspects one image in an appliance of its own.
fn inspect(
    request: &InspectRequest,
    image: &Location,
    settings: &Settings,
    messages: &Arc<Messages>,
) -> anyhow::Result<Inspection> {
    let mut settings = settings.clone();
    settings.is_verbose |= request.is_verbose;
    let mut handle = Handle::with_settings(settings);
    let messages = Arc::clone(messages);
    handle.set_event_handler(EventHandler::new(move |event| messages.show(event)))?;
    handle.add_drive(Drive { format: request.format, ..Drive::at(image.clone(), Access::ReadOnly) })?;
    handle.launch()?;
    let found = handle.guest()?.inspect()?;
    handle.shutdown()?;
    Ok(found)
}

/// What is shown on standard error while several appliances work.
#[derive(Default)]
struct Messages {
    /// What was said, for each appliance says the same about this machine. Held while a line is written.
    said: Mutex<HashSet<String>>,
    /// How many images are done, and whether the line that says so is on the terminal.
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

    /// Tells on a terminal how many images are done.
    fn one_more(&self, of: usize) {
        let mut done = self.done.lock();
        done.0 += 1;
        if of > 1 && io::stderr().is_terminal() {
            done.1 = true;
            // A terminal that is gone is no failure.
            let _ = write!(io::stderr(), "\rguestinspect: {} of {of} images", done.0);
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
