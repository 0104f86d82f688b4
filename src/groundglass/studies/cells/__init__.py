"""What a study is made of: each unit of work with its inputs, its identity, and how it is run."""
