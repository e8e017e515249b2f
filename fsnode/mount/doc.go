// Package mount is the life of a mount: what must be so before there is one, bringing it
// up, ending it, and telling a person why not.
package mount
