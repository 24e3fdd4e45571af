//! Whether the graphs of all inner steps fit into memory.
//!
//! Deliberately not here: what is done with the answer, which is `metashot_meta::Memory`.

use anyhow::{Context, Result};
use metashot_autograd::{Order, Params, Patterns, Value};
use metashot_meta::{InnerLoop, Memory, step_graph_bytes};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::{
    cases::{Case, Half, Split},
    learners::{HeadStart, episode_seed, loss},
    progress::say,
    recipe::{DeviceKind, MemoryUse, Recipe},
};

/// What an inner loop of training keeps of its steps. The estimate is that of the first task, and is printed.
///
/// # Errors
/// When the first task cannot be drawn or its loss computed.
pub(crate) fn choose<C: Case>(
    case: &C,
    recipe: &Recipe,
    (start, frozen): (&Params, Option<&C::Frozen>),
    inner: &InnerLoop,
    train: &Patterns,
    n_threads: usize,
) -> Result<Memory> {
    match recipe.inner.memory {
        MemoryUse::Flat => return Ok(Memory::Flat),
        MemoryUse::Fast => return Ok(Memory::Fast),
        MemoryUse::Auto => {}
    }
    // The last step's graph is kept in any case.
    if inner.order == Order::First || inner.steps < 2 {
        return Ok(Memory::Flat);
    }
    if recipe.device != DeviceKind::Cpu {
        say(
            "the steps' graphs are built again, as a GPU does not say what is free (`--memory fast` keeps them)",
        );
        return Ok(Memory::Flat);
    }
    let seed = episode_seed(recipe.seed, Split::Train);
    let task = case.task(Split::Train, seed, 0, frozen)?;
    let head = HeadStart::of(recipe);
    let step = step_graph_bytes(
        start,
        |params: &Params<Value>| head.prepare(case, &task, params, &inner.adapt),
        |params: &Params<Value>| loss(case, &task, Half::Support, params),
        &inner.adapt,
        train,
    )
    .context("the graph of the first task's first inner step could not be built")?;
    let at_once = if recipe.are_tasks_batched() {
        recipe.outer.tasks_per_step
    } else {
        n_threads
    };
    let (tasks, free) = (recipe.outer.tasks_per_step.min(at_once), free_bytes());
    let all = step as f64 * inner.steps as f64 * tasks as f64;
    let memory = if all <= free / 2.0 {
        Memory::Fast
    } else {
        Memory::Flat
    };
    say(&format!(
        "an inner step's graph takes about {:.0} MB, {} steps of {tasks} tasks {:.0} MB of {:.0} MB free: {}",
        step as f64 / 1e6,
        inner.steps,
        all / 1e6,
        free / 1e6,
        match memory {
            Memory::Fast => "all are kept (`--memory flat` builds them again)",
            Memory::Flat => "they are built again (`--memory fast` keeps them)",
        }
    ));
    Ok(memory)
}

/// The memory that is free to this process; none on a system that does not say.
fn free_bytes() -> f64 {
    let memory = MemoryRefreshKind::nothing().with_ram();
    let kinds = RefreshKind::nothing().with_memory(memory);
    let Ok(system) = System::new_with_specifics(kinds) else {
        return 0.0;
    };
    let free = match system.cgroup_limits() {
        Some(limits) => system.available_memory().min(limits.free_memory),
        None => system.available_memory(),
    };
    free as f64
}
