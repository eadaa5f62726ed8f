//! Device code that ops share, one folder a family of devices, and kernels that come once for each type.

pub(crate) mod cpu;
pub(crate) mod cuda;

use forebay_device::{Device, Grid, Kernel, KernelDef};

use crate::{
    DType, Error, Level, Result, Tensor,
    op::{Code, Loaded, Served, grid_by_device, size},
    quant::{self, panel::PanelLayout},
};

use self::{cpu::points::has_points, cuda::EACH};

/// Elements of a group where every element stands for itself.
pub(crate) const PART: usize = 4096;

/// The grid of an op in which every element of a tensor stands for itself, and how many elements there are.
pub(crate) fn each_grid(op: &'static str, kernel: &Kernel, x: &Tensor) -> Result<(Grid, u32)> {
    each_grid_of(op, kernel, x, x.elements().div_ceil(PART))
}

/// The same where a group of the CPU owns something else than a part.
pub(crate) fn each_grid_of(
    op: &'static str,
    kernel: &Kernel,
    x: &Tensor,
    groups: usize,
) -> Result<(Grid, u32)> {
    let elements = size(op, "elements", x.elements())?;
    let grid = grid_by_device(op, kernel, groups, [x.elements().div_ceil(EACH), EACH / 4])?;
    Ok((grid, elements))
}

/// One kernel for each type that an op can work with.
#[derive(Debug)]
pub struct PerType {
    kernels: Vec<(DType, Kernel)>,
}

impl Loaded for PerType {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let load = |one: &Served| Ok((one.dtype()?, one.load(device)?));
        Ok(Self { kernels: with_code(device, served).map(load).collect::<Result<_>>()? })
    }
}

impl PerType {
    /// The kernel of a type.
    pub(crate) fn of(&self, dtype: DType) -> Result<&Kernel> {
        let found = self.kernels.iter().find(|(known, _)| *known == dtype);
        found.map(|(_, kernel)| kernel).ok_or(Error::NoFormat { dtype: dtype.name() })
    }
}

/// The kernels that have code for the device; what the others would serve is refused when it is used.
fn with_code<'s>(device: &Device, served: &'s [Served]) -> impl Iterator<Item = &'s Served> {
    let kind = device.kind();
    served.iter().filter(move |one| one.runs_on(kind))
}

/// The kernels of these types.
pub(crate) fn per_type<C: Into<Code>>(
    dtypes: impl IntoIterator<Item = DType>,
    kernel: impl Fn(DType) -> C,
) -> Vec<Served> {
    dtypes.into_iter().map(|dtype| Served::new(dtype.name(), kernel(dtype))).collect()
}

/// The kernels of all weight formats of one plane.
pub(crate) fn per_format<C: Into<Code>>(kernel: impl Fn(DType) -> C) -> Vec<Served> {
    per_type(quant::formats().iter().map(quant::Format::dtype), kernel)
}

/// The types that lie in panels, and a type that their scales can have where they have planes.
pub(crate) fn in_panels() -> impl Iterator<Item = (DType, Option<DType>, PanelLayout)> {
    DType::all().filter_map(|dtype| {
        let scale_type = match dtype {
            DType::Affine(_) => Some(DType::BF16),
            DType::MlxMxfp4 | DType::MlxNvfp4 => Some(DType::U8),
            _ => None,
        };
        PanelLayout::of(dtype, scale_type).map(|layout| (dtype, scale_type, layout))
    })
}

/// How a weight lies, and what its products are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// In rows, whose products are of floats.
    Rows,
    /// In rows, whose codes are looked up for products of integers.
    Points,
    /// In panels, for products of integers.
    Panels,
    /// In panels, for products of floats.
    PanelsOfFloats,
}

/// What ends the types of kernels for integer products of rows.
const BY_INTEGERS: &str = " by integers";
/// What ends the types of kernels for products of floats with panels.
const BY_FLOATS: &str = " in panels by floats";
/// What ends the types of kernels for panels; of a card's kernels that are made for more rows of activations than one, for
/// how many.
const IN_PANELS: &str = " in panels";
const FEW_ROWS: &str = " in panels, few rows";
const ROWS_64: &str = " in panels, 64 rows";
const ROWS_128: &str = " in panels, 128 rows";

/// How many rows of activations a kernel of a card takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    One,
    Few,
    By64,
    By128,
}

/// What ends the types of a card's kernels for many rows of activations with weights in rows.
const BY_64: &str = " by 64 rows";
const BY_128: &str = " by 128 rows";

/// The kernels of weights, however they lie, and the level of the CPU that they use.
#[derive(Debug)]
pub struct WeightKernels {
    rows: PerType,
    rows_by_64: PerType,
    rows_by_128: PerType,
    points: PerType,
    panels: PerType,
    of_floats: PerType,
    few: PerType,
    by_64: PerType,
    by_128: PerType,
    level: Level,
}

impl Loaded for WeightKernels {
    fn load(device: &Device, served: &[Served]) -> Result<Self> {
        let endings = [IN_PANELS, BY_FLOATS, FEW_ROWS, ROWS_64, ROWS_128, BY_INTEGERS, BY_64, BY_128, ""];
        let mut found = endings.map(|_| PerType { kernels: Vec::new() });
        for one in with_code(device, served) {
            let ending = |ending: &&str| one.types().strip_suffix(ending);
            let place = endings.iter().position(|end| ending(end).is_some()).unwrap_or_default();
            let dtype = ending(&endings[place]).unwrap_or_default().parse()?;
            found[place].kernels.push((dtype, one.load(device)?));
        }
        let [panels, of_floats, few, by_64, by_128, points, rows_by_64, rows_by_128, rows] = found;
        let level = Level::best();
        Ok(Self { rows, rows_by_64, rows_by_128, points, panels, of_floats, few, by_64, by_128, level })
    }

    fn set_level(&mut self, level: Level) {
        self.level = level;
    }
}

impl WeightKernels {
    /// The kernel of a type that lies so.
    pub(crate) fn of(&self, dtype: DType, lie: Lie) -> Result<&Kernel> {
        match lie {
            Lie::Rows => self.rows.of(dtype),
            Lie::Points => self.points.of(dtype),
            Lie::Panels => self.panels.of(dtype),
            Lie::PanelsOfFloats => self.of_floats.of(dtype),
        }
    }

    /// The kernel of a card for rows of a type and several rows of activations, where there is one.
    pub(crate) fn of_many(&self, dtype: DType, rows: Rows) -> Option<&Kernel> {
        match rows {
            Rows::One | Rows::Few => None,
            Rows::By64 => self.rows_by_64.of(dtype).ok(),
            Rows::By128 => self.rows_by_128.of(dtype).ok(),
        }
    }

    /// The kernel of a card for panels of a type and several rows of activations.
    pub(crate) fn of_rows(&self, dtype: DType, rows: Rows) -> Option<&Kernel> {
        let kernels = match rows {
            Rows::One => &self.panels,
            Rows::Few => &self.few,
            Rows::By64 => &self.by_64,
            Rows::By128 => &self.by_128,
        };
        kernels.of(dtype).ok()
    }

    /// The level that the kernels use.
    pub(crate) fn level(&self) -> Level {
        self.level
    }
}

/// The kernels of all weight formats: those of one plane in rows, and those that can lie in panels.
pub(crate) fn per_weight<C: Into<Code>>(
    rows: impl Fn(DType) -> C,
    panels: impl Fn(DType) -> C,
) -> Vec<Served> {
    let panels = in_panels().map(|(dtype, ..)| Served::new(format!("{dtype}{IN_PANELS}"), panels(dtype)));
    per_format(rows).into_iter().chain(panels).collect()
}

/// The kernels of panels for products of floats: those of planes, which have no rows that could be multiplied instead.
pub(crate) fn per_panels_of_floats(kernel: impl Fn(DType) -> KernelDef) -> impl Iterator<Item = Served> {
    let of_planes = in_panels().filter(|(_, scale_type, _)| scale_type.is_some());
    of_planes.map(move |(dtype, ..)| Served::new(format!("{dtype}{BY_FLOATS}"), kernel(dtype)))
}

/// The kernels of a card for panels and several rows of activations.
pub(crate) fn per_rows(kernel: impl Fn(DType, Rows) -> KernelDef) -> Vec<Served> {
    let kinds = [(Rows::Few, FEW_ROWS), (Rows::By64, ROWS_64), (Rows::By128, ROWS_128)];
    let served = |(dtype, _, _): (DType, _, _)| {
        kinds.map(|(rows, ending)| Served::new(format!("{dtype}{ending}"), kernel(dtype, rows)))
    };
    in_panels().flat_map(served).collect()
}

/// The kernels of formats whose rows have integer products.
pub(crate) fn per_points(points: impl Fn(DType) -> KernelDef) -> impl Iterator<Item = Served> {
    with_points().map(move |dtype| Served::new(format!("{dtype}{BY_INTEGERS}"), points(dtype)))
}

/// A card's kernels for many rows of activations with a weight in rows, where there are any.
pub(crate) fn per_many(kernel: impl Fn(DType, Rows) -> Option<KernelDef>) -> Vec<Served> {
    let types = || quant::formats().iter().map(quant::Format::dtype);
    let all = [(BY_64, Rows::By64), (BY_128, Rows::By128)];
    let all = all.into_iter().flat_map(|many| types().map(move |dtype| (dtype, many)));
    let served = |(dtype, (ending, rows))| {
        kernel(dtype, rows).map(|kernel| Served::new(format!("{dtype}{ending}"), kernel))
    };
    all.filter_map(served).collect()
}

/// The types whose rows have integer products.
pub(crate) fn with_points() -> impl Iterator<Item = DType> {
    quant::formats().iter().map(quant::Format::dtype).filter(|dtype| has_points(*dtype))
}

/// How a weight is multiplied, as a kernel takes it: the level to use, the type of the scales, and that of the weight,
/// which tells kernels that serve several types which one they meet; for panels on a card, their format.
pub(crate) fn how(level: Level, scale_type: Option<DType>, dtype: DType) -> u32 {
    let scales = match scale_type {
        None => 0,
        Some(DType::F16) => 1,
        Some(DType::BF16) => 2,
        Some(DType::F32) => 3,
        Some(_) => 4,
    };
    let level = Level::ALL.iter().position(|one| *one == level).unwrap_or(0);
    level as u32 | scales << 8 | code(dtype) << 16 | cuda::panels::form(dtype) << 24
}

/// The level and the type of the scales that [`how`] was made of.
pub(crate) fn level_and_scales(how: u32) -> (Level, Option<DType>) {
    let scales = match how >> 8 & 255 {
        0 => None,
        1 => Some(DType::F16),
        2 => Some(DType::BF16),
        3 => Some(DType::F32),
        _ => Some(DType::U8),
    };
    (Level::ALL.get(how as usize & 255).copied().unwrap_or(Level::Plain), scales)
}

/// The number by which device code knows a type: its place in the list of types, which is below 256.
pub(crate) fn code(dtype: DType) -> u32 {
    DType::all().take_while(|one| *one != dtype).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_device::{DeviceOptions, Signature};
    use std::collections::HashSet;

    #[test]
    fn what_has_no_code_for_the_device_is_refused_when_it_is_used() {
        let device = Device::open(&DeviceOptions::cpu().threads(1)).unwrap();
        let on_card = || KernelDef::new("on_card", Signature::new([]));
        let here = || on_card().cpu(|_| ());
        let served = [
            Served::new("q4_k", here()),
            Served::new("q6_k", on_card()),
            Served::new(format!("q4_k{IN_PANELS}"), on_card()),
            Served::new(format!("iq2_s{BY_INTEGERS}"), on_card()),
        ];
        let kernels = WeightKernels::load(&device, &served).unwrap();
        assert!(kernels.of(DType::Q4_K, Lie::Rows).is_ok());
        for (dtype, lie) in
            [(DType::Q6_K, Lie::Rows), (DType::Q4_K, Lie::Panels), (DType::IQ2_S, Lie::Points)]
        {
            let error = kernels.of(dtype, lie).unwrap_err();
            assert_eq!(error, Error::NoFormat { dtype: dtype.name() });
        }
        let types = PerType::load(&device, &served[..2]).unwrap();
        assert!(types.of(DType::Q4_K).is_ok() && types.of(DType::Q6_K).is_err());
    }

    #[test]
    fn every_type_has_its_own_code_beside_level_and_scales() {
        let mut codes = HashSet::new();
        for dtype in DType::all() {
            let code = code(dtype);
            assert!(code < 256 && codes.insert(code), "{dtype}");
            for level in Level::ALL {
                for scales in [None, Some(DType::F16), Some(DType::BF16), Some(DType::F32), Some(DType::U8)] {
                    let how = how(level, scales, dtype);
                    assert_eq!((level_and_scales(how), how >> 16 & 255), ((level, scales), code));
                }
            }
        }
    }
}
