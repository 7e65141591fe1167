"""Sources that are asked for studies, and each study on its way from one."""
