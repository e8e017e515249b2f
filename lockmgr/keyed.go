package lockmgr

import "iter"

// keyed is a map by Key. It has two levels, so that a directory is named once however many
// locks are in it, and what is in it can be found.
type keyed[V any] map[InodeID]map[string]V

func (m keyed[V]) at(k Key) V { return m[k.Dir][k.Name] }

func (m keyed[V]) set(k Key, v V) {
	in := m[k.Dir]
	if in == nil {
		in = map[string]V{}
		m[k.Dir] = in
	}
	in[k.Name] = v
}

func (m keyed[V]) remove(k Key) {
	in := m[k.Dir]
	if delete(in, k.Name); len(in) == 0 {
		delete(m, k.Dir)
	}
}

func (m keyed[V]) all() iter.Seq2[Key, V] {
	return func(yield func(Key, V) bool) {
		for dir, in := range m {
			for name, v := range in {
				if !yield(Key{dir, name}, v) {
					return
				}
			}
		}
	}
}
