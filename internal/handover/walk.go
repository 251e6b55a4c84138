package handover

import "encoding/json"

// get follows keys into nested JSON objects; nil where there is none.
func get(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// first returns the first member of a list; nil where there is none.
func first(v any) any {
	if l, ok := v.([]any); ok && len(l) > 0 {
		return l[0]
	}
	return nil
}

// integer returns a non-negative integer of at most 32 bits.
func integer(v any) (uint32, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	if err != nil || i < 0 || i > 1<<32-1 {
		return 0, false
	}
	return uint32(i), true
}

// walk calls f for a value and everything in it. The order inside an object is not defined.
func walk(v any, f func(any)) {
	f(v)
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			walk(e, f)
		}
	case map[string]any:
		for _, e := range v {
			walk(e, f)
		}
	}
}
