// Package doctor looks for what keeps a mount from doing its work, or would, and says what to do about it.
//
// What is looked at is gathered first: of the machine (machine.go), of a directory and what is mounted there (place.go,
// arbiter.go), of the processes that are there already (bystanders.go). The checks are functions of what was gathered,
// which is mostly the text of a file, and ask nobody. A mount may be dead or hang, so it is asked by another process that can be
// left behind (ask.go), and never otherwise before it has answered.
package doctor
