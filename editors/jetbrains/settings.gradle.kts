rootProject.name = "nemodiff"
