"""Send a study to a cluster as a Ray job, follow it, leave it and find it again, from a machine without torch.

The job runs this package's own code, which is sent along as one archive; nothing is pickled between the two machines.
Requests go to the dashboard of the cluster's head, which is asked first, with short timeouts, what it is.
"""
