package config

import "encoding"

// setting is a flag for a value that need not be said.
type setting[T any, P text[T]] struct{ to **T }

// text is a pointer to a value that can be read and written as text.
type text[T any] interface {
	*T
	encoding.TextUnmarshaler
	encoding.TextMarshaler
}

// Setting makes a flag's value (pflag.Value) of one of the Settings.
func Setting[T any, P text[T]](to **T) *setting[T, P] { return &setting[T, P]{to} }

// Set reads what the command line says.
func (s *setting[T, P]) Set(word string) error {
	value := P(new(T))
	if err := value.UnmarshalText([]byte(word)); err != nil {
		return err
	}
	*s.to = value
	return nil
}

// String is what was said, "" if nothing.
func (s *setting[T, P]) String() string {
	if s.to == nil || *s.to == nil {
		return ""
	}
	word, _ := P(*s.to).MarshalText()
	return string(word)
}

// Type names the flag's argument in its help.
func (s *setting[T, P]) Type() string { return "string" }
