//! GGUF files for tests, right or wrong as they are told to be.

/// Builds the bytes of a file.
pub(crate) struct Builder {
    pub(crate) version: u32,
    pub(crate) tensor_count: Option<u64>,
    pub(crate) entry_count: Option<u64>,
    pub(crate) alignment: usize,
    entries: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            tensor_count: None,
            entry_count: None,
            alignment: 32,
            entries: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
        }
    }

    /// A metadata entry of any type, its value given as bytes.
    pub(crate) fn raw(mut self, key: &[u8], value_type: u32, value: &[u8]) -> Self {
        self.entries.push([&string(key), &value_type.to_le_bytes()[..], value].concat());
        self
    }

    pub(crate) fn text(self, key: &str, text: &str) -> Self {
        self.raw(key.as_bytes(), 8, &string(text.as_bytes()))
    }

    pub(crate) fn u32(self, key: &str, n: u32) -> Self {
        self.raw(key.as_bytes(), 4, &n.to_le_bytes())
    }

    pub(crate) fn bool(self, key: &str, b: bool) -> Self {
        self.raw(key.as_bytes(), 7, &[b.into()])
    }

    pub(crate) fn array(self, key: &str, element: u32, count: u64, data: &[u8]) -> Self {
        let value = [&element.to_le_bytes()[..], &count.to_le_bytes()[..], data].concat();
        self.raw(key.as_bytes(), 9, &value)
    }

    pub(crate) fn texts<T: AsRef<[u8]>>(self, key: &str, texts: &[T]) -> Self {
        let data: Vec<u8> = texts.iter().flat_map(|text| string(text.as_ref())).collect();
        self.array(key, 8, texts.len() as u64, &data)
    }

    pub(crate) fn f32s(self, key: &str, numbers: &[f32]) -> Self {
        let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.array(key, 6, numbers.len() as u64, &data)
    }

    pub(crate) fn i32s(self, key: &str, numbers: &[i32]) -> Self {
        let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.array(key, 5, numbers.len() as u64, &data)
    }

    /// A tensor whose bytes follow those of the last one.
    pub(crate) fn tensor(mut self, name: &str, kind: u32, dimensions: &[u64], bytes: &[u8]) -> Self {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        self.data.extend_from_slice(bytes);
        self.tensor_at(name, kind, dimensions, offset)
    }

    /// A tensor that claims to lie at an offset.
    pub(crate) fn tensor_at(mut self, name: &str, kind: u32, dimensions: &[u64], offset: u64) -> Self {
        let mut entry = string(name.as_bytes());
        entry.extend((dimensions.len() as u32).to_le_bytes());
        entry.extend(dimensions.iter().flat_map(|n| n.to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.entry_count.unwrap_or(self.entries.len() as u64).to_le_bytes());
        file.extend(self.entries.concat());
        file.extend(self.tensors.concat());
        if !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
            file.extend(self.data);
        }
        file
    }
}
