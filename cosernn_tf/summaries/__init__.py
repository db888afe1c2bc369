"""What TensorBoard shows: the formats of its plugins, each written by one small function.

Event files go into whatever `tf.summary` writer is the default; `training.board` decides what a run
writes and when.
"""
