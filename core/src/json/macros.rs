//! `json!`, which writes a value as it will be sent.

use std::borrow::Cow;

use super::{Map, Number, Text, Value};

/// What may stand in [`json!`](crate::json::json): taken by reference, so that nothing is moved.
pub trait ToValue {
    /// The value that it is written as.
    fn to_value(&self) -> Value;
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

impl<T: ToValue> ToValue for [T] {
    fn to_value(&self) -> Value {
        Value::Array(self.iter().map(ToValue::to_value).collect())
    }
}

impl<T: ToValue> ToValue for Vec<T> {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

impl<T: ToValue, const N: usize> ToValue for [T; N] {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value {
        self.into()
    }
}

impl ToValue for Cow<'_, str> {
    fn to_value(&self) -> Value {
        (**self).into()
    }
}

macro_rules! by_clone {
    ($($type:ty)*) => {
        $(impl ToValue for $type {
            fn to_value(&self) -> Value {
                self.clone().into()
            }
        })*
    };
}

by_clone!(Value Map Number Text String bool f64 u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

/// See [`crate::json::json`].
#[doc(hidden)]
#[macro_export]
macro_rules! json_value {
    (null) => {
        $crate::json::Value::Null
    };
    ([ $($elements:tt)* ]) => {
        $crate::json_value!(@elements () $($elements)*)
    };
    ({ $($members:tt)* }) => {
        $crate::json::Value::Object({
            #[allow(unused_mut)]
            let mut map = $crate::json::Map::new();
            $crate::json_value!(@members map () $($members)*);
            map
        })
    };

    // An element is a literal of this macro up to a comma, or else an expression.
    (@elements ($($done:expr,)*)) => {
        $crate::json::Value::Array(vec![$($done),*])
    };
    (@elements ($($done:expr,)*) null $(, $($rest:tt)*)?) => {
        $crate::json_value!(@elements ($($done,)* $crate::json::Value::Null,) $($($rest)*)?)
    };
    (@elements ($($done:expr,)*) [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $crate::json_value!(@elements ($($done,)* $crate::json_value!([ $($inner)* ]),) $($($rest)*)?)
    };
    (@elements ($($done:expr,)*) { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $crate::json_value!(@elements ($($done,)* $crate::json_value!({ $($inner)* }),) $($($rest)*)?)
    };
    (@elements ($($done:expr,)*) $element:expr $(, $($rest:tt)*)?) => {
        $crate::json_value!(@elements ($($done,)* $crate::json::ToValue::to_value(&$element),) $($($rest)*)?)
    };

    // A name is gathered up to its colon; a value is as an element.
    (@members $map:ident ()) => {};
    (@members $map:ident ($($name:tt)+) : null $(, $($rest:tt)*)?) => {
        $map.insert(String::from($($name)+), $crate::json::Value::Null);
        $crate::json_value!(@members $map () $($($rest)*)?);
    };
    (@members $map:ident ($($name:tt)+) : [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $map.insert(String::from($($name)+), $crate::json_value!([ $($inner)* ]));
        $crate::json_value!(@members $map () $($($rest)*)?);
    };
    (@members $map:ident ($($name:tt)+) : { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $map.insert(String::from($($name)+), $crate::json_value!({ $($inner)* }));
        $crate::json_value!(@members $map () $($($rest)*)?);
    };
    (@members $map:ident ($($name:tt)+) : $value:expr $(, $($rest:tt)*)?) => {
        $map.insert(String::from($($name)+), $crate::json::ToValue::to_value(&$value));
        $crate::json_value!(@members $map () $($($rest)*)?);
    };
    (@members $map:ident ($($name:tt)*) $next:tt $($rest:tt)*) => {
        $crate::json_value!(@members $map ($($name)* $next) $($rest)*);
    };

    ($value:expr) => {
        $crate::json::ToValue::to_value(&$value)
    };
}
